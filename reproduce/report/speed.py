"""The report's section on speed, from the newest whole benchmark record."""

from typing import Any

from reproduce.report import plots

HEAD = ("Section", "Case", "What", "Value", "Ratio", "To", "Target")
SEEDS_CAPTION = "An update of S seeds at once, per seed, beside a plainly written one-seed version; crosses: compiled."
AGENTS_CAPTION = "An update of five seeds with 2 to 32 agents."
Curves = dict[str, list[tuple[float, float, bool]]]  # name -> (x, y, compiled)


def cells(line: dict[str, Any]) -> list[str]:
    """One line of the table, in HEAD's order."""
    ratio = f"{line['ratio']:.3f}" if "ratio" in line else ""
    value = f"{line['value']:.4g} {line['unit']}"
    names = (line["section"], line["case"], line["what"])
    return [*names, value, ratio, line.get("reference", ""), line.get("target", "")]


def origin(record: dict[str, Any]) -> str:
    """The sentence that says when, by which code and on which machine it was measured."""
    made, machine = record["provenance"], record["provenance"].get("machine", {})
    return (
        f"Commit {str(made.get('commit', 'unknown'))[:10]}, {record['created'][:10]}, {machine.get('cpu', 'unknown')}, "
        f"{machine.get('cores', '?')} cores, device {machine.get('device', 'unknown')}. Medians of {record['repeats']} "
        "rounds taken in turn; only the ratios carry over to other machines."
    )


def drawings(record: dict[str, Any]) -> list[tuple[str, str]]:
    """(SVG, caption) by seeds and by agents; without the one that nothing was measured for."""
    lines = record["lines"]
    by_seeds = plots.cost_curves(_by_seeds(lines), "seeds in one batch", "cost per seed / plain")
    by_agents = plots.cost_curves(_by_agents(lines), "agents", "cost / that of 2 agents")
    return [(svg, words) for svg, words in ((by_seeds, SEEDS_CAPTION), (by_agents, AGENTS_CAPTION)) if svg]


def _by_seeds(lines: list[dict[str, Any]]) -> Curves:
    found: Curves = {}
    for line in lines:
        if line["section"] == "update" and line["what"].startswith("S="):
            seeds, *how = line["what"].removeprefix("S=").split()
            found.setdefault(line["case"], []).append((float(seeds), line["ratio"], bool(how)))
    return found


def _by_agents(lines: list[dict[str, Any]]) -> Curves:
    found: Curves = {}
    for line in lines:
        if line["section"] == "agents":
            found.setdefault(line["case"], []).append((float(line["what"].split()[0]), line["ratio"], False))
    return found
