"""Where things lie. The project runs from its checkout; REPRODUCE_HOME moves what it writes besides records."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "configs"
PAPER_RESULTS = ROOT / "paper_results"


def records_dir() -> Path:
    """Our numbers; REPRODUCE_RECORDS points tests and read-only checkouts elsewhere."""
    return Path(os.environ.get("REPRODUCE_RECORDS") or ROOT / "records")


def outputs_dir() -> Path:
    """Checkpoints, built datasets, reports: everything that can be made again."""
    return Path(os.environ.get("REPRODUCE_HOME") or ROOT / "outputs")
