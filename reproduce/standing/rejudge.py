"""A record's scores, judged by the bound of today: its number, margin, metric and minimum score."""

from collections.abc import Sequence
from typing import Any

from reproduce import published, records
from reproduce.judge import Verdict, judge


def judged_today(
    record: dict[str, Any], not_comparable: Sequence[str], among: list[dict[str, Any]], readings: int = 1
) -> tuple[Verdict, list[float] | None, list[float]]:
    """(the verdict, scores of cloning, the scores that were judged) of a record of a row; `among` are the records in
    which cloning is looked for.

    `not_comparable`: why the run is another experiment than the row of today.
    """
    clones = record.get("behavior_cloning") or records.recorded_cloning(  # which may have run later
        record["row"], record["config"]["algo"], record["data"], record["seeds"], among, records.Scored.of(record)
    )
    row, crashed = published.row(record["row"]), {crash.get("seed") for crash in record["crashed"]}
    per_seed = [
        row.bound.minimum_score if seed in crashed else score
        for seed, score in zip(record["seeds"], record["scores"]["per_seed"], strict=True)
    ]
    ours, why = records.healthy(per_seed), records.why_no_verdict(record["seeds"], per_seed)
    if (metric := record["scores"]["metric"]) != row.metric:
        why.append(f"its scores are {metric}, the row is judged by {row.metric}")
    verdict = judge(
        ours,
        row.bound,
        not_comparable=[*not_comparable, *(reason for reason in why if reason not in not_comparable)],
        data_kind=record["data"]["kind"],
        behavior_cloning=ours if records.is_cloning(record) else clones or _own_clones(record),
        readings=readings,
    )
    return verdict, clones, ours


def _own_clones(record: dict[str, Any]) -> list[float] | None:
    """Of InSPO's first records, which do not say it apart: what its clones scored before they moved."""
    algo, curve = record["config"]["algo"], record["curve"]
    if algo["name"] != "inspo" or curve["n_updates"][:1] != [algo["n_behavior_updates"]]:
        return None
    scores = curve[record["scores"]["mode"]][0]
    return None if None in scores else scores


def changed_bound(record: dict[str, Any]) -> list[str]:
    """How the published number or its margin differs from what the record was judged by; empty where it does not."""
    bound, old = published.row(record["row"]).bound, record["verdict"]
    pairs = {"the published number": (old["theirs"], bound.mean), "the margin": (old["delta"], bound.delta)}
    apart = [
        f"{what} was {was:g}, today it is {'unknown' if now is None else f'{now:g}'}"
        for what, (was, now) in pairs.items()
        if was is not None and was != now and (now is not None or what == "the margin")
    ]
    return [f"recorded as {old['state']}; since then {' and '.join(apart)}: judged anew"] if apart else []
