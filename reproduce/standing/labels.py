"""The name of a reading: the settings of a run as one types them, without those that change nothing in law."""

from typing import Any

from reproduce.config import NOT_PART_OF_FINGERPRINT

DATA, KIND = "data.id", "data.kind"


def label(record: dict[str, Any], own_data: str | None) -> str:
    """E.g. `budget=omsd_long data.id=omar/simple_spread-expert`; empty for the row's own settings.

    `own_data` is the dataset of the row. The data's kind is named where the data are not regenerated ones.
    """
    chosen = [o for o in record["overrides"] if not o.startswith((*NOT_PART_OF_FINGERPRINT, f"{DATA}="))]
    if record["data"]["id"] != own_data:
        chosen.append(f"{DATA}={record['data']['id']}")
    if record["data"]["kind"] != "regenerated":
        chosen.append(f"{KIND}={record['data']['kind']}")
    return " ".join(sorted(chosen))
