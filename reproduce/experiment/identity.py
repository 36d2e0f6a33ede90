"""The folder from which a run resumes, named by whatever decides the bits."""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch

from data.common.paths import ROOT, outputs_dir
from reproduce.config import Settings

NUMERIC_RUN_KEYS = ("device", "threads", "chunk_size", "accelerate", "matmul_precision")  # under `run`, decide bits
SOURCES = ("lit_modules/**/*.py", "data/**/*.py", "reproduce/experiment/evaluate.py")


def numeric_run(settings: Settings) -> dict[str, Any]:
    """The settings under `run` that decide bits; the threads are those in use."""
    found = {key: value for key, value in settings.values["run"].items() if key in NUMERIC_RUN_KEYS}
    return found | {"threads": found["threads"] or torch.get_num_threads()}


def run_folder(settings: Settings, data_sha256: str) -> Path:
    """outputs/runs/<row>/<hash>. The hash covers settings, data, programs and torch, so only the same run resumes."""
    source = hashlib.sha256(torch.__version__.encode())
    for path in sorted(path for pattern in SOURCES for path in ROOT.glob(pattern)):
        source.update(path.read_bytes())
    values = settings.values
    identity = [values["algo"], values["task"], values["protocol"], numeric_run(settings), data_sha256]
    identity += [settings.run.stage1] if settings.run.stage1 else []
    digest = hashlib.sha256((json.dumps(identity, sort_keys=True) + source.hexdigest()).encode()).hexdigest()
    return outputs_dir() / "runs" / settings.row / digest[:12]
