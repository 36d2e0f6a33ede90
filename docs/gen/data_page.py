"""The generated page of datasets, from the catalog. Markdown as text."""

from typing import Any

from gen import facts
from gen.tables import table

from reproduce.core import numbers


def page() -> str:
    """The catalog: one table per family, the official statistics beside those of the data made here."""
    families: dict[str, list[list[str]]] = {}
    for name, entry in facts.datasets().items():
        family, short = name.split("/", 1)
        official = (
            "statistics not published" if entry.get("official") else f"none: {entry.get('official_reason', 'none')}"
        )
        if "published" in entry:
            official = _statistics(entry["published"])
        made = facts.data_facts(name)
        families.setdefault(family, []).append(
            [short, entry["description"], official, "not built here" if made is None else _statistics(made)]
        )
    out = [
        "# Data",
        "",
        "Every row runs on regenerated data, made here by committed programs and accepted only within stated "
        "intervals, or on the authors' own files with `data.kind=official data.root=DIR`, which `reproduce data fetch` "
        "can [fetch](official_data.md). A "
        "verdict on regenerated data says so.",
        "",
        "```",
        "reproduce data list                # every dataset",
        "reproduce data show bridge/mix     # a dataset's manifest: how it was made, counts, checksums",
        "reproduce data compare             # official statistics beside those of the datasets built or recorded here",
        "reproduce data fetch ID            # the authors' files, where they have an address; it asks first",
        "reproduce data export ID --to minari FILE   # for other people's programs",
        "```",
        "",
        "The tables are written from the catalog. Returns are mean ± standard deviation [lowest, highest] over "
        "episodes. The last column is of the newest record that ran on the dataset, or of its manifest "
        "where it is built.",
        "",
    ]
    sources = {e["published"]["source"] for e in facts.datasets().values() if "source" in e.get("published", {})}
    if sources:
        out += [f"Official statistics: {'; '.join(sorted(sources))}.", ""]
    for family, lines in families.items():
        out += [f"## {family}", "", table(["dataset", "description", "official", "made here"], lines), ""]
    return "\n".join(out).rstrip() + "\n"


def _statistics(found: dict[str, Any]) -> str:
    digits = 0 if abs(found["mean"]) >= 20 else 2
    text = numbers.number(found["mean"], digits)
    if "std" in found:
        text += f" ± {numbers.number(found['std'], digits)}"
    if "min" in found and "max" in found:
        text += f" [{numbers.number(found['min'], digits)}, {numbers.number(found['max'], digits)}]"
    return text + (f", {found['n_episodes']:,} episodes" if "n_episodes" in found else "")
