"""Macros of the documentation's pages. Each looks its number up, and the build fails where no record holds it.

{{ score("omsd/mpe/cn_expert", "budget=omsd_long variant=low_noise") }} -> 86.0
"""

import sys
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

from gen import facts, matrix_tables, tables  # noqa: E402

from data.common.errors import ReproduceError, nearest  # noqa: E402
from reproduce import published, records, standing  # noqa: E402
from reproduce.core import numbers  # noqa: E402


def score(row: str, settings: str = "", digits: int | None = None) -> str:
    """Our mean score over seeds, in the row's metric. `facts.find` says which record counts."""
    return numbers.number(fmean(facts.scores(facts.find(row, settings))), digits)


def spread(row: str, settings: str = "", digits: int | None = None) -> str:
    """Our mean ± sample standard deviation over seeds, with their number where it is not five."""
    return facts.mean_std(facts.scores(facts.find(row, settings)), digits)


def raw(row: str, settings: str = "", digits: int | None = None) -> str:
    """Our mean episode return, not normalized."""
    return numbers.number(fmean(facts.raw_returns(facts.find(row, settings))), digits)


def data_score(row: str, settings: str = "", digits: int | None = None) -> str:
    """The mean score of the data that the run was trained on, in the row's metric."""
    record = facts.find(row, settings)
    value = records.data_score(record)
    if value is None:
        raise ReproduceError(f"{record['file']} does not say what its data score in the row's metric.")
    return numbers.number(value, digits)


def data_return(row: str, settings: str = "", digits: int | None = None) -> str:
    """The mean episode return of the data that the run was trained on."""
    return numbers.number(facts.find(row, settings)["data"]["return"]["mean"], digits)


def updates(row: str, settings: str = "") -> str:
    """The run's number of updates, 10,000."""
    return f"{facts.find(row, settings)['n_updates']:,}"


def verdict(row: str, settings: str = "") -> str:
    """The state of the run's verdict, e.g. BELOW."""
    return facts.verdict(facts.find(row, settings)).state


def found(row: str) -> str:
    """What was found with the row's own settings, in words that tell a known optimum from a published number."""
    return facts.category(published.row(row))


def minutes(row: str, settings: str = "", digits: int = 0) -> str:
    """The run's wall time in minutes."""
    return numbers.number(facts.find(row, settings)["time"]["wall_s"] / 60, digits)


def day(row: str, settings: str = "") -> str:
    """The run's date."""
    return facts.find(row, settings)["created"][:10]


def theirs(row: str) -> str:
    """The published number as printed, or that it is unknown."""
    return facts.theirs(published.row(row))


def reference(row: str, name: str) -> str:
    """A comparison value that paper_results holds with its source, e.g. random."""
    known = published.row(row).references
    if known.get(name) is None:
        raise ReproduceError(f"row {row} has no reference {name!r}.{nearest(name, list(known))}")
    return f"{known[name]:g}"


def setting(row: str, key: str) -> str:
    """A setting of the row's file, e.g. algo.beta."""
    known = facts.values(row)
    if key not in known:
        raise ReproduceError(f"row {row} has no setting {key!r}.{nearest(key, list(known))}")
    return str(known[key])


def official(dataset: str, key: str = "mean", digits: int | None = None) -> str:
    """A published statistic of the official data: mean, std, min, max; `cloning` is what cloning earns on them."""
    entry = _dataset(dataset)
    source = entry.get("published_cloning", {}) if key == "cloning" else entry.get("published", {})
    name = "mean" if key == "cloning" else key
    if name not in source:
        raise ReproduceError(f"the catalog holds no published {key} of {dataset}.")
    return numbers.number(source[name], digits)


def official_level(dataset: str, row: str) -> str:
    """The official data's mean return on the published scale, 100 (R - random) / (expert - random)."""
    known = published.row(row).references
    low, high = (known[f"normalization_{end}"] for end in ("random", "expert"))
    return numbers.number(100 * (_dataset(dataset)["published"]["mean"] - low) / (high - low), None)


def regenerated(dataset: str, key: str = "mean", digits: int | None = None) -> str:
    """A statistic of the dataset made here, from records alone: a built manifest is not in everybody's checkout."""
    _dataset(dataset)
    found = facts.data_facts(dataset, of_records=True)
    if found is None or key not in found:
        raise ReproduceError(f"no record holds {key} of the dataset {dataset}.")
    return numbers.number(found[key], digits)


def _dataset(dataset: str) -> dict[str, Any]:
    known = facts.datasets()
    if dataset not in known:
        raise ReproduceError(f"no dataset {dataset!r} in the catalog.{nearest(dataset, list(known))}")
    return known[dataset]


def claim(name: str) -> str:
    """HOLDS, FAILS or INCONCLUSIVE, of the newest record of a claim; the build fails where that is out of date."""
    record = facts.claim(name)
    if changed := standing.changed_since(record):
        raise ReproduceError(f"the claim {name}: its {changed} changed since it was recorded; run it again.")
    return records.claim_state(record)


def bench(case: str, what: str, key: str = "value", digits: int = 2, section: str = "") -> str:
    """A line of the newest benchmark record: its value or its ratio to a plain version."""
    for line in facts.all_records("bench/all", "bench")[-1]["lines"]:
        if (line["case"], line["what"]) == (case, what) and key in line and section in ("", line["section"]):
            return f"{line[key]:,.{digits}f}"
    raise ReproduceError(f"the newest benchmark record has no {key} of {case!r}, {what!r}.")


def std(row: str, settings: str = "", digits: int | None = None) -> str:
    """Our sample standard deviation over seeds."""
    return numbers.number(stdev(facts.scores(facts.find(row, settings))), digits)


MACROS = (
    *(score, spread, raw, data_score, data_return, updates, verdict, minutes, day, theirs, reference, setting),
    *(official, official_level, regenerated, claim, bench, std, found, matrix_tables.algorithms_on),
    *(
        tables.holds,
        tables.precise_enough,
        tables.worth_running,
        tables.telling,
        tables.counted,
        tables.readings,
        tables.claims,
        tables.arms,
        tables.exit_codes,
        tables.speed,
        tables.seeds_cost,
    ),
    *(
        tables.older,
        tables.on_gpu,
        tables.gate_seconds,
        tables.installed,
        tables.naive,
        tables.unequal,
        tables.power,
        tables.gate_power,
    ),
)


def define_env(env: Any) -> None:
    """Called by mkdocs-macros."""
    for function in MACROS:
        env.macro(function)
