"""The logged metrics of a run, outputs/runs/<row>/<hash>/metrics_from_<update>/metrics.csv: one file per resumption."""

import csv
import io
import shutil
from pathlib import Path

from data.common.files import write_text

FILES = "metrics_from_[0-9]*/metrics.csv"


def cut(folder: Path, update: int) -> None:
    """Drop what a run that goes on at `update` logs anew, so that no two files of the folder overlap."""
    for path in folder.glob(FILES):
        with open(path, encoding="utf-8", errors="replace", newline="") as file:
            reader = csv.DictReader(file)
            names, lines = list(reader.fieldnames or []), list(reader)
        kept = [line for line in lines if _is_done(line, names, update)]
        if not kept and int(path.parent.name.rpartition("_")[2]) >= update:
            shutil.rmtree(path.parent)
        elif len(kept) < len(lines):
            text = io.StringIO()
            writer = csv.DictWriter(text, names, lineterminator="\n")
            writer.writeheader()
            writer.writerows(kept)
            write_text(path, text.getvalue())


def _is_done(line: dict[str, str | None], names: list[str], update: int) -> bool:
    """Whether a line is whole and of an update that is not repeated."""
    try:
        whole = None not in line and all(line[name] is not None for name in names)  # type: ignore[comparison-overlap]
        return whole and float(line["n_updates"] or "nan") <= update
    except (KeyError, ValueError):
        return False
