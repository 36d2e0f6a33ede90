"""The report's files: report.html and report.md."""

from pathlib import Path

from data.common.files import write_text
from reproduce.report.content import collect
from reproduce.report.html import page
from reproduce.report.markdown import document


def write_report(out_dir: Path, pattern: str = "*", left_out: dict[Path, str] | None = None) -> tuple[Path, Path]:
    """Write both reports of the rows and claims that match the pattern into `out_dir`; return their paths.

    A record that cannot be read is added to `left_out`. Raises ReproduceError when neither a row nor a recorded claim
    matches, and for such a record where `left_out` is None.
    """
    content = collect(pattern, left_out)
    texts = {"report.html": page(content, Path(out_dir).resolve()), "report.md": document(content)}
    for name, text in texts.items():
        write_text(Path(out_dir) / name, text)
    return Path(out_dir) / "report.html", Path(out_dir) / "report.md"
