"""Flashbax Vaults, the format of OG-MARL's data: a folder `<scenario>.vlt/<uid>/` per dataset.

A Vault is one zarr array per leaf of the experience in an ocdbt key-value store, named by its path with a trailing dot
(`observations.`, `infos.state.`), leading axes (1, time); `vault_index` counts the rows written, metadata.json names
the leaves. Episodes stand one after another on the time axis. Written with flashbax's layout as of its version 1.2.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data.common.errors import ReproduceError
from data.common.extras import needed
from data.common.files import write_json
from data.common.foreign import check_tree, read_json

METADATA = "metadata.json"
MOST_MISSING = 10_000  # chunks: more are not counted one by one
CHUNK = 10_000  # rows, as written
VERSION = 1.2


def tensorstore() -> Any:
    return needed("tensorstore", "Vaults")


def spec(folder: Path, name: str) -> dict[str, Any]:
    return {"driver": "zarr", "kvstore": store(folder, name)}


def store(folder: Path, name: str) -> dict[str, Any]:
    """A path and no URL, in which `%20`, `#` and `?` would mean something."""
    return {"driver": "ocdbt", "base": {"driver": "file", "path": f"{folder.resolve()}/"}, "path": name}


@dataclass(frozen=True)
class Vault:
    """A folder that is one, and where it was published. `stated`: the shapes that metadata.json names."""

    folder: Path
    published: str
    stated: Any

    @classmethod
    def opened(cls, folder: Path, published: str) -> "Vault":
        """Raises ReproduceError for a folder without readable metadata, and for links that lead out of it."""
        if folder.is_dir():
            check_tree(folder)
        try:
            return cls(folder, published, read_json(folder / METADATA)["structure_shape"])
        except FileNotFoundError:
            raise ReproduceError(f"{folder / METADATA} is missing: no Vault. Published at {published}.") from None
        except (KeyError, TypeError, IndexError) as error:
            raise ReproduceError(f"{folder / METADATA} is no Vault's metadata: {error!r}.") from error

    def leaf(self, name: str) -> "Leaf":
        return Leaf(self, name)

    def rows_written(self) -> int:
        index = Leaf(self, "vault_index")
        if index.shape != (1,) or index.dtype.kind not in "iu":
            raise ReproduceError(
                f"{self.folder}: vault_index is {index.dtype} {list(index.shape)}, expected one whole number, the rows "
                "written."
            )
        return int(index.read(0)[()])

    def lacking(self, leaf: str, start: int, stop: int) -> ReproduceError:
        return ReproduceError(
            f"{self.folder}: {leaf} lacks the chunk of the rows {start} to {stop - 1}, which would be read as zeros. "
            f"Fetch the Vault again from {self.published}."
        )


class Leaf:
    """One array of a Vault, every look at it guarded: tensorstore raises a dozen kinds for damage."""

    def __init__(self, vault: Vault, leaf: str):
        self.vault, self.leaf = vault, leaf
        self.name = leaf if leaf == "vault_index" else f"{leaf}."
        self.array = self._guarded(lambda: tensorstore().open(spec(vault.folder, self.name)).result())
        self.shape, self.dtype = tuple(self.array.shape), np.dtype(self.array.dtype.numpy_dtype)

    def read(self, index: Any) -> np.ndarray:
        part = self._guarded(lambda: np.array(self.array[index].read().result()))
        return part.astype(part.dtype.newbyteorder("="), copy=False)

    def unstored(self, n: int) -> list[tuple[int, int]]:
        """(start, stop) of the rows, of the first n, whose chunk lies nowhere: the format reads them as zeros.

        Raises ReproduceError where more than MOST_MISSING chunks lack.
        """
        folder = self.vault.folder
        chunks = self._guarded(lambda: self.array.chunk_layout.read_chunk.shape)
        keys = store(folder, f"{self.name}/")
        listed = self._guarded(lambda: tensorstore().KvStore.open(keys).result().list().result())
        found = {key for raw in listed if (key := raw.decode(errors="replace")).replace(".", "").isdigit()}
        each = -(-n // chunks[1])
        per_time = [
            -(-size // chunk) for axis, (size, chunk) in enumerate(zip(self.shape, chunks, strict=True)) if axis != 1
        ]
        wanted = 1
        for count in per_time:
            wanted *= count
        counts: dict[int, int] = {}
        for key in found:
            at = int(key.split(".")[1]) if key.count(".") == len(chunks) - 1 else -1
            counts[at] = counts.get(at, 0) + 1
        if each > len(counts) + MOST_MISSING:
            raise ReproduceError(
                f"{folder}: {self.leaf} lacks {each - len(counts)} of {each} chunks. Fetch the Vault again from "
                f"{self.vault.published}."
            )
        missing = [k for k in range(each) if counts.get(k, 0) < wanted]
        return [(k * chunks[1], min((k + 1) * chunks[1], n)) for k in missing]

    def _guarded(self, look: Callable[[], Any]) -> Any:
        try:
            return look()
        except ReproduceError:
            raise
        except Exception as error:
            why = " ".join(str(error).split())[:200] or type(error).__name__
            raise ReproduceError(
                f"{self.vault.folder}: {self.leaf} cannot be read: {why}. Fetch the Vault again from "
                f"{self.vault.published}."
            ) from error


def write(values: dict[str, np.ndarray], folder: Path) -> None:
    """{leaf: [rows, ..]} as a Vault in a folder that does not exist yet; metadata last, without which it does not
    load."""
    ts = tensorstore()
    if folder.exists():
        raise ReproduceError(f"{folder} exists; a Vault is written into a new folder.")
    folder.mkdir(parents=True)
    n = len(next(iter(values.values())))
    for leaf, value in values.items():
        grid = {"chunks": [1, min(n, CHUNK), *value.shape[1:]], "compressor": {"id": "gzip", "level": 5}}
        array = ts.open(
            spec(folder, f"{leaf}.") | {"metadata": grid}, shape=(1, *value.shape), dtype=value.dtype.name, create=True
        ).result()
        array[0].write(np.ascontiguousarray(value)).result()
    index = ts.open(spec(folder, "vault_index"), shape=(1,), dtype="int32", create=True).result()
    index.write(np.array([n], np.int32)).result()
    shapes: dict[str, Any] = {}
    for leaf, value in values.items():
        part, *rest = leaf.split(".")
        place = shapes.setdefault(part, {}) if rest else shapes
        place[rest[0] if rest else part] = str((1, *value.shape))
    write_json(folder / METADATA, {"version": VERSION, "structure_shape": shapes})
