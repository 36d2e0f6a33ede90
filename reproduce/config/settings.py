"""A run's settings beside its row's, what differs between them, and the hashes by which runs are compared."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from reproduce.config.schema import DataSettings, ProtocolSettings, RowSettings, RunSettings, TaskSettings

# Keys that change how a run is carried out, not what is computed in law.
NOT_PART_OF_FINGERPRINT = (
    *("run.", "data.kind", "data.root", "data.seed", "data.storage"),
    *("protocol.n_seeds", "protocol.eval_every"),
)
# Free as well, for the last checkpoint is what counts, yet part of the hashes that records and references hold.
FREE_YET_HASHED = "protocol.eval_every"


@dataclass(frozen=True)
class Settings:
    """`used` by a run, beside what its row's file `stated`; both complete and checked."""

    used: RowSettings
    stated: RowSettings
    overrides: list[str]

    @property
    def row(self) -> str:
        return self.used.row

    @property
    def algo(self) -> Any:
        """The settings class of the row's algorithm."""
        return self.used.algo

    @property
    def task(self) -> TaskSettings:
        return self.used.task

    @property
    def protocol(self) -> ProtocolSettings:
        return self.used.protocol

    @property
    def data(self) -> DataSettings:
        return self.used.data

    @property
    def run(self) -> RunSettings:
        return self.used.run

    @cached_property
    def values(self) -> dict[str, Any]:
        """The values that the run uses, nested and plain."""
        return self.used.values()

    @cached_property
    def row_values(self) -> dict[str, Any]:
        """The values of the row's file, nested and plain."""
        return self.stated.values()

    @property
    def differs(self) -> list[dict[str, Any]]:
        """Settings of the row that the overrides changed, other than free ones: key, row, used."""
        return differences(self.values, self.row_values)

    @property
    def fingerprint(self) -> str:
        """The hash of the row's file, for every run that computes the same."""
        stated = {key: value for key, value in flat(self.row_values).items() if key == FREE_YET_HASHED}
        return config_hash(flat(self.values) | stated)

    @property
    def row_fingerprint(self) -> str:
        return config_hash(self.row_values)


def differences(used: dict[str, Any], row: dict[str, Any]) -> list[dict[str, Any]]:
    """Keys that are not free and whose values differ between two nested mappings of settings."""
    ours, rows = flat(used), flat(row)
    keys = [k for k in sorted(ours | rows) if not k.startswith(NOT_PART_OF_FINGERPRINT) and ours.get(k) != rows.get(k)]
    return [{"key": key, "row": rows.get(key), "used": ours.get(key)} for key in keys]


def in_words(apart: Iterable[dict[str, Any]], says: str = "the row says") -> list[str]:
    """Differences as sentences. Another algorithm is one of them: its settings have no counterpart in the row's."""
    found = list(apart)
    name = next((d for d in found if d["key"] == "algo.name"), None)
    if name is None:
        return [f"{d['key']} is {d['used']}, {says} {d['row']}" for d in found]
    rest = [d for d in found if not d["key"].startswith("algo.")]
    return [f"algo is {name['used']}, {says} {name['row']}", *in_words(rest, says)]


def flat(nested: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} -> {"a.b": 1}; lists stay values."""
    out: dict[str, Any] = {}
    for key, value in nested.items():
        out |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return out


def config_hash(values: dict[str, Any]) -> str:
    """12 hex characters over all settings that are not free, nested or flat."""
    kept = flat(values).items()
    hashed = {k: v for k, v in kept if k == FREE_YET_HASHED or not k.startswith(NOT_PART_OF_FINGERPRINT)}
    return hashlib.sha256(json.dumps(hashed, sort_keys=True).encode()).hexdigest()[:12]
