"""Checkpoints: written whole, read without unpickling code, and used only by the run that wrote them, as written."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import Tensor

from data.common.errors import ReproduceError
from data.common.files import write_with

RUN, CHECKSUM = "run", "sha256"  # keys beside Lightning's


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's way to files, with a checksum over the whole content."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        checkpoint = checkpoint | {CHECKSUM: checksum(checkpoint)}
        write_with(Path(path), lambda partial: torch.save(checkpoint, partial))

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = True) -> Any:
        """Raises ReproduceError for a file that is no checkpoint of this program, or that was changed since."""
        try:
            found = torch.load(path, map_location=map_location or (lambda storage, _: storage), weights_only=True)
            stated = found.pop(CHECKSUM, None) if isinstance(found, dict) else None
            same = stated is not None and stated == checksum(found)
        except Exception as error:
            first = (str(error).splitlines() or [""])[0]
            raise unusable(Path(path), f"it cannot be read ({type(error).__name__}: {first})") from error
        if stated is None:
            raise unusable(Path(path), "another program wrote it")
        if not same:
            raise unusable(Path(path), "its content is not as it was written")
        return found


def read(path: Path, identity: str) -> dict[str, Any]:
    """The checkpoint of the run `identity`. Raises ReproduceError for a damaged or foreign one."""
    found = AtomicCheckpointIO().load_checkpoint(path)
    run = found.get(RUN)
    if not isinstance(run, dict) or run.get("identity") != identity:
        whose = run.get("identity") if isinstance(run, dict) else "another program"
        raise unusable(path, f"it is of {whose}, this run is {identity}")
    return found


def unusable(path: Path, why: str) -> ReproduceError:
    """The error of a checkpoint from which nothing can go on."""
    return ReproduceError(f"checkpoint {path} cannot be used: {why}; delete it to train anew.")


def checksum(value: Any) -> str:
    """Over nested mappings, sequences, tensors and plain values, the same before saving and after loading."""
    digest = hashlib.sha256()
    _add(digest, value)
    return digest.hexdigest()


def _add(digest: Any, value: Any) -> None:
    if isinstance(value, Mapping):
        digest.update(b"{")
        for key, inner in value.items():
            digest.update(repr(key).encode())
            _add(digest, inner)
        digest.update(b"}")
    elif isinstance(value, list | tuple):
        digest.update(b"[")
        for inner in value:
            _add(digest, inner)
        digest.update(b"]")
    elif isinstance(value, Tensor):
        digest.update(f"{value.dtype}{tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    else:
        digest.update(repr(value).encode())
    digest.update(b",")
