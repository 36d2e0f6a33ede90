"""The record of exactly these settings."""

from collections.abc import Callable
from typing import Any

from reproduce.config import Settings
from reproduce.records.cloning import same_data
from reproduce.records.store import read_sound


def carried_out_alike(record: dict[str, Any], settings: Settings) -> bool:
    """Whether what `run` may change of the numbers is the same: the precision of products, and whether a stage 1 came
    from elsewhere."""
    used, asked = record["config"]["run"], settings.run
    own = used.get("stage1") is None
    return (used.get("matmul_precision", "highest"), own) == (asked.matmul_precision, asked.stage1 is None)


def recorded(
    settings: Settings,
    data: dict[str, Any] | None = None,
    where: Callable[[dict[str, Any]], bool] = lambda record: True,
) -> dict[str, Any] | None:
    """The newest record of exactly these settings, seeds, kind of data and precision; None where there is none.

    `data`: facts of the dataset that it must have read. `where`: what else must hold of the record.
    """
    stated = settings.data
    for record in reversed(read_sound(settings.row, "row")):
        used = record["config"]["data"]
        same = (used.get("kind"), used.get("seed")) == (stated.kind, stated.seed)
        same = same and record["config_fingerprint"] == settings.fingerprint
        same = same and record["seeds"] == settings.protocol.seeds and carried_out_alike(record, settings)
        same = same and where(record)
        if same and (data is None or same_data(record["data"], data)):
            return record
    return None
