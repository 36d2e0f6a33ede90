"""`python benchmarks/install.py`: what the first command installs, in a fresh clone: seconds and bytes, as a record.

It needs the package index, hence it is no section of `python benchmarks`.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from data.common.paths import ROOT
from data.common.provenance import provenance
from reproduce import records

TARGETS = {"what rows need": ".venv/.ready", "rows of MuJoCo besides": ".venv/.ready-mujoco"}


def main() -> None:
    started, lines = time.perf_counter(), []
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "clone"
        subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
        before = 0
        for case, target in TARGETS.items():
            began = time.perf_counter()
            subprocess.run(["make", target], cwd=clone, check=True, stdout=subprocess.DEVNULL)
            seconds = time.perf_counter() - began
            size = sum(f.lstat().st_size for f in (clone / ".venv").rglob("*") if not f.is_dir())
            common = {"section": "install", "case": case}
            lines.append(common | {"what": "wall time", "value": round(seconds, 1), "unit": "s"})
            lines.append(common | {"what": "on disk", "value": size - before, "unit": "bytes"})
            before = size
    took = {"wall_s": round(time.perf_counter() - started, 2)}
    record = {"kind": "bench", "row": "bench/install", "provenance": provenance(), "repeats": 1}
    print(records.write(record | {"time": took, "lines": lines}))


if __name__ == "__main__":
    main()
