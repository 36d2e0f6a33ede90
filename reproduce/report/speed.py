"""The report's section on speed, from the newest whole benchmark record."""

import io
from html import escape
from typing import Any

HEAD = ("Section", "Case", "What", "Value", "Ratio", "To", "Target")
GRAY = "#808080"  # readable on light and on dark


def cells(line: dict[str, Any]) -> list[str]:
    """One line of the table, in HEAD's order."""
    ratio = f"{line['ratio']:.3f}" if "ratio" in line else ""
    value = f"{line['value']:.4g} {line['unit']}"
    return [
        line["section"],
        line["case"],
        line["what"],
        value,
        ratio,
        line.get("reference", ""),
        line.get("target", ""),
    ]


def origin(record: dict[str, Any]) -> str:
    made, machine = record["provenance"], record["provenance"].get("machine", {})
    return (
        f"Commit {str(made.get('commit', 'unknown'))[:10]}, {record['created'][:10]}, {machine.get('cpu', 'unknown')}, "
        f"{machine.get('cores', '?')} cores, device {machine.get('device', 'unknown')}. Medians of {record['repeats']} "
        "rounds taken in turn; only the ratios carry over to other machines."
    )


def section(record: dict[str, Any]) -> str:
    """HTML: two plots and the whole table."""
    head = "".join(f'<th scope="col">{name}</th>' for name in HEAD)
    lines = "".join(
        "<tr>" + "".join(f"<td>{escape(c)}</td>" for c in cells(line)) + "</tr>" for line in record["lines"]
    )
    figures = "".join(
        f"<figure>{drawing}<figcaption>{escape(words)}</figcaption></figure>"
        for drawing, words in (
            (_plot(_by_seeds(record["lines"]), "seeds in one batch", "cost per seed / plain"), SEEDS_CAPTION),
            (_plot(_by_agents(record["lines"]), "agents", "cost / that of 2 agents"), AGENTS_CAPTION),
        )
        if drawing
    )
    return (
        f'<h2>Speed</h2><p class="soft">{escape(origin(record))}</p><div class="curves">{figures}</div>'
        f'<details><summary>All {len(record["lines"])} measurements</summary><div class="scroll"><table class="all">'
        f"<thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></div></details>"
    )


SEEDS_CAPTION = "An update of S seeds at once, per seed, beside a plainly written one-seed version; crosses: compiled."
AGENTS_CAPTION = "An update of five seeds with 2 to 32 agents."
Curves = dict[str, list[tuple[float, float, bool]]]  # name -> (x, y, compiled)


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


def _plot(curves: Curves, x_label: str, y_label: str) -> str:
    """Both axes logarithmic, as inline SVG; an empty string without points."""
    if not curves:
        return ""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FormatStrFormatter, NullFormatter

    figure = Figure(figsize=(5.4, 3.6), layout="constrained")
    axes = figure.subplots()
    for k, (name, points) in enumerate(curves.items()):
        written = [(x, y) for x, y, compiled in points if not compiled]
        axes.plot(*zip(*written, strict=True), marker="o", markersize=3, linewidth=1.2, color=f"C{k}", label=name)
        for x, y, compiled in points:
            if compiled:
                axes.plot([x], [y], marker="x", markersize=7, color=f"C{k}")
    axes.set_xscale("log")
    axes.set_yscale("log")
    ticks = sorted({x for points in curves.values() for x, _, _ in points})
    axes.set_xticks(ticks, labels=[f"{tick:g}" for tick in ticks])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(FormatStrFormatter("%g"))
    axes.set_xlabel(x_label, color=GRAY)
    axes.set_ylabel(y_label, color=GRAY)
    quiet(axes)
    axes.legend(frameon=False, fontsize=7, labelcolor=GRAY)
    return svg(figure, f"{y_label} against {x_label}")


def quiet(axes: Any) -> None:
    """Gray axes, the left and the lower one alone."""
    axes.tick_params(which="both", colors=GRAY)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(GRAY)


def svg(figure: Any, label: str) -> str:
    """Inline SVG of a matplotlib figure; the label is its text alternative."""
    from matplotlib import rc_context

    out = io.StringIO()
    with rc_context({"svg.fonttype": "none"}):  # text stays text, in the page's own font and color
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    drawing = out.getvalue()[out.getvalue().index("<svg") + len("<svg") :]
    return f'<svg role="img" aria-label="{escape(label)}"{drawing}'
