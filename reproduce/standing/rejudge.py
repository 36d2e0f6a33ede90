"""A record's scores, judged by the bound of today."""

from collections.abc import Sequence
from typing import Any

from reproduce import published, records
from reproduce.judge import Verdict, judge


def judged_today(
    record: dict[str, Any], not_comparable: Sequence[str], among: list[dict[str, Any]], readings: int = 1
) -> tuple[Verdict, list[float] | None]:
    """(the verdict, scores of cloning) of a record of a row; `among` are the records in which cloning is looked for.

    `not_comparable`: why the run is another experiment than the row of today.
    """
    curve = record["curve"].get(record["scores"]["mode"]) or []
    early = curve[0] if record["config"]["algo"]["name"] == "inspo" and curve else None  # before its clones moved
    clones = record.get("behavior_cloning") or records.recorded_cloning(  # which may have run later
        record["row"], record["config"]["algo"], record["data"], record["seeds"], among
    )
    verdict = judge(
        record["scores"]["per_seed"],
        published.row(record["row"]).bound,
        not_comparable=not_comparable,
        data_kind=record["data"]["kind"],
        behavior_cloning=clones or early,
        readings=readings,
    )
    return verdict, clones
