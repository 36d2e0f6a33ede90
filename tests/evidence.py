"""What a refactoring may not change, printed as one JSON document: `python tests/evidence.py [FILE]`.

The verdicts of every record (`check '*' --json`), the report's tables, the loss fingerprints, and for one tiny row of
each paper the checksum of its weights and its returns. With FILE, an earlier output: prints what differs and exits 1.
Checksums of weights compare on one machine only.
"""

import contextlib
import hashlib
import io
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent / "smoke")]

from test_rows import shrink, tiny  # noqa: E402

from data.catalog import registry  # noqa: E402
from reproduce.cli import main  # noqa: E402
from reproduce.config import compose  # noqa: E402
from reproduce.experiment.run import run_row  # noqa: E402
from reproduce.regression import fingerprints  # noqa: E402
from reproduce.report import write_report  # noqa: E402

ROWS = ("inspo/xor/ab_ba", "omiga/mujoco/hopper_expert", "omsd/mpe/cn_expert")


def checked() -> list[dict[str, Any]]:
    """The documents of `reproduce check '*' --json`."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        main(["check", "*", "--json"])
    return [{k: v for k, v in row.items() if k != "file"} for row in json.loads(printed.getvalue())["rows"]]


def report_tables() -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        write_report(Path(folder))
        lines = Path(folder, "report.md").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if not line.startswith("Written ")]


def runs() -> dict[str, Any]:
    torch.set_num_threads(1)
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"REPRODUCE_HOME": folder, "REPRODUCE_RECORDS": f"{folder}/records"}
        entries = shrink(registry.entries())
        registry._parsed = lambda: entries  # type: ignore[assignment]
        for row in ROWS:
            record = run_row(compose(row, [*tiny(row)[0], "run.threads=1"]))
            kept = ("config_fingerprint", "row_fingerprint", "weights_sha256", "evaluation", "scores", "curve")
            found[row] = {key: record[key] for key in kept} | {"keys": sorted(record)}
    return found


def evidence() -> dict[str, Any]:
    parts = {"check": checked(), "report": report_tables(), "losses": fingerprints.fingerprints(), "runs": runs()}
    digests = {key: hashlib.sha256(json.dumps(part).encode()).hexdigest()[:16] for key, part in parts.items()}
    return parts | {"sha256": digests}


def differences(old: Any, new: Any, where: str = "") -> list[str]:
    """Dotted paths of what differs; numbers to 1e-9."""
    if isinstance(old, dict) and isinstance(new, dict):
        return [d for k in sorted({*old, *new}) for d in differences(old.get(k), new.get(k), f"{where}.{k}")]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return [d for k, pair in enumerate(zip(old, new, strict=True)) for d in differences(*pair, f"{where}[{k}]")]
    if isinstance(old, float) and isinstance(new, float) and abs(old - new) <= 1e-9 * max(1, abs(old)):
        return []
    return [] if old == new else [f"{where}: {old!r} -> {new!r}"]


if __name__ == "__main__":
    found = evidence()
    if len(sys.argv) == 1:
        print(json.dumps(found))
        sys.exit(0)
    before = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    apart = [d for key in ("check", "report", "losses", "runs") for d in differences(before[key], found[key], key)]
    print("\n".join(d[:300] for d in apart) or "equal", json.dumps(found["sha256"]), sep="\n")
    sys.exit(bool(apart))
