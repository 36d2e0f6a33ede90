"""The report's drawings: inline SVG by matplotlib, in colors that the page names, so that light and dark both work.

Text stays text, the output depends on the arguments alone, and `label` is the text alternative of each drawing.
"""

import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from html import escape
from itertools import zip_longest
from textwrap import fill
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:  # a misspelt pattern is told without loading matplotlib
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SERIES = tuple(f"series-{k}" for k in range(10))
COLORS = ("ink", "soft", "line", "band", "greedy", "sampled", *SERIES)  # variables of report.css
MARKERS = "os^D"
WIDTH = 62  # letters in a line of a legend below its axes
STANDS_FOR = re.compile("#f0e1([0-9a-f]{2})")
# Group ids are alike in every drawing of a page, clip paths cut nothing, and the page chooses the font.
NEEDLESS = re.compile(
    r' id="[\w.]+_\d+"| clip-path="[^"]*"|<defs>\s*<(style|clipPath).*?</defs>|font-family: [^;"]*; ', re.DOTALL
)
Points = Sequence[Sequence[float | None]]  # [point][seed]; None marks a crashed seed


def learning_curves(
    n_updates: Sequence[float],
    greedy: Points,
    sampled: Points,
    reference: float | None,
    label: str,
    y_label: str = "episode return",
) -> str:
    """Scores over updates: a thin line per seed, `reference` dashed. Empty without a finite point."""
    if not any(value is not None for points in (greedy, sampled) for point in points for value in point):
        return ""
    with _figure(380, 226) as figure:
        axes = _axes(figure, (0.165, 0.19, 0.8, 0.75), "gradient updates", y_label)
        axes.grid(axis="y", color=_color("line"), linewidth=0.6)
        for name, points, style in (("sampled", sampled, (0, (1.5, 2))), ("greedy", greedy, "-")):
            for seed in zip_longest(*points):
                y = [math.nan if value is None else value for value in seed]
                alone = "." if sum(map(math.isfinite, y)) == 1 else ""
                x = list(n_updates)[: len(y)]
                axes.plot(x, y[: len(x)], linestyle=style, marker=alone, color=_color(name), linewidth=1.2, alpha=0.85)
        if reference is not None:
            axes.axhline(reference, color=_color("ink"), linestyle=(0, (6, 3)), linewidth=1.2)
        axes.set_xlim(left=min(n_updates))
        axes.xaxis.set_major_formatter(lambda value, _: tick_label(value))
        axes.yaxis.set_major_formatter(lambda value, _: tick_label(value))
        return _svg(figure, label)


def tick_label(value: float) -> str:
    """1500 -> 1.5k, 2000000 -> 2M, 0.25 -> 0.25."""
    for unit, letter in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= unit:
            return f"{value / unit:.4g}{letter}"
    return f"{value:.4g}" if abs(value) > 1e-12 else "0"


def interval(difference: float, low: float, high: float, margin: float, one_sided: bool) -> str:
    """The interval [low, high] of ours minus theirs: a bar over the band [-margin, margin].

    The band ends at 0 where it is one-sided. A dot marks the difference, a line marks 0.
    """
    from matplotlib.lines import Line2D
    from matplotlib.patches import Ellipse, Rectangle

    reach = 1.15 * max(abs(low), abs(high), margin) or 1.0

    def x(value: float) -> float:  # in parts of the figure's width
        return 0.5 + 0.49 * value / reach

    with _figure(150, 18) as figure:
        right = x(0.0 if one_sided else margin)
        figure.add_artist(Rectangle((x(-margin), 0.1), right - x(-margin), 0.8, color=_color("band"), linewidth=0))
        figure.add_artist(Line2D([0.5, 0.5], [0, 1], color=_color("soft"), linewidth=1))
        figure.add_artist(Line2D([x(low), x(high)], [0.5, 0.5], color=_color("ink"), linewidth=2))
        figure.add_artist(Ellipse((x(difference), 0.5), 7 / 150, 7 / 18, color=_color("ink"), linewidth=0, zorder=3))
        words = f"difference {difference:.4g}, interval {low:.4g} to {high:.4g}, margin {margin:.4g}"
        return _svg(figure, words, 'class="interval" ')


class Names(NamedTuple):
    """The words of a sensitivity drawing: both axes, the published sweep, the published number."""

    x: str
    y: str
    theirs: str
    reference: str


def sensitivity(
    ours: Mapping[str, Mapping[float, Sequence[float]]],
    theirs: Sequence[tuple[float, float, float]],
    reference: tuple[float, float, float] | None,
    names: Names,
    label: str,
) -> str:
    """Scores against one setting: ours in colors (dots: seeds; lines: means), theirs in gray.

    `ours` are curves {name: {value of the setting: scores}}, `theirs` are (value, mean, half width). `reference` is the
    published number with the ends of its band.
    """
    values = sorted({*(value for curve in ours.values() for value in curve), *(value for value, *_ in theirs)})
    n_names = len(ours) + bool(theirs) + bool(reference)
    height = 250 + 24 * n_names
    with _figure(360, height) as figure:
        axes = _axes(figure, (0.15, (46 + 24 * n_names) / height, 0.82, 196 / height), names.x, names.y)
        for k, (name, curve) in enumerate(ours.items()):
            color = _color(SERIES[k % 10])
            seeds = [(value, score) for value, scores in curve.items() for score in scores]
            axes.plot(*zip(*seeds, strict=True), linestyle="", marker=".", markersize=4, alpha=0.5, color=color)
            means = [sum(scores) / len(scores) for scores in curve.values()]
            axes.plot(list(curve), means, marker="o", markersize=4, color=color, label=fill(name, WIDTH))
        if theirs:
            x, y, bars = zip(*theirs, strict=True)
            style = {"fmt": "D", "markersize": 4, "capsize": 3, "color": _color("soft")}
            axes.errorbar(x, y, yerr=bars, label=fill(names.theirs, WIDTH), **style)
        if reference is not None:
            level, low, high = reference
            style = {"linestyle": "--", "linewidth": 1, "label": fill(names.reference, WIDTH)}
            axes.axhline(level, color=_color("soft"), **style)
            axes.axhspan(low, high, color=_color("band"), alpha=0.6, linewidth=0, zorder=0)
        if values[0] > 0 and values[-1] > 10 * values[0]:
            axes.set_xscale("log")
        _ticks(axes, values)
        _legend(figure, loc="lower left", bbox_to_anchor=(0.02, 0.0))
        return _svg(figure, label)


def cost_curves(curves: Mapping[str, Sequence[tuple[float, float, bool]]], x_label: str, y_label: str) -> str:
    """Curves {name: (x, y, compiled)} over two logarithmic axes; a cross marks a compiled point. Empty without any."""
    from matplotlib.ticker import FormatStrFormatter, NullFormatter

    if not curves:
        return ""
    with _figure(360, 290) as figure:
        axes = _axes(figure, (0.14, 0.14, 0.83, 0.82), x_label, y_label)
        for k, (name, points) in enumerate(curves.items()):
            style: dict[str, Any] = {"color": _color(SERIES[k % 10])}
            eager = [(x, y) for x, y, compiled in points if not compiled]
            if eager:
                marker = MARKERS[k // 10 % len(MARKERS)]
                axes.plot(*zip(*eager, strict=True), marker=marker, markersize=3, label=name, **style)
            for x, y, compiled in points:
                if compiled:
                    axes.plot([x], [y], marker="x", markersize=7, **style)
        axes.set_xscale("log")
        axes.set_yscale("log")
        _ticks(axes, sorted({x for points in curves.values() for x, _, _ in points}))
        axes.yaxis.set_major_formatter(FormatStrFormatter("%g"))
        axes.yaxis.set_minor_formatter(NullFormatter())
        _legend(axes, loc="best")
        return _svg(figure, f"{y_label} against {x_label}")


# ---- common to all


@cache
def _canvas() -> "Figure":
    from matplotlib.figure import Figure

    return Figure(dpi=72)


@contextmanager
def _figure(width: float, height: float) -> "Iterator[Figure]":
    """The one figure, empty, of this size in CSS pixels, in matplotlib's own style whatever the user's file says."""
    import matplotlib

    style: dict[Any, Any] = {
        "font.size": 10,
        "lines.linewidth": 1.2,
        "svg.fonttype": "none",
        "axes.formatter.useoffset": False,
    }
    style = {**matplotlib.rcParamsDefault, **style, "backend": matplotlib.rcParams["backend"]}
    with matplotlib.rc_context(style):
        figure = _canvas()
        figure.clear()
        figure.patch.set_visible(False)
        figure.set_size_inches(width / 72, height / 72)
        yield figure


def _color(name: str) -> str:
    """A color that no drawing uses and `_svg` replaces by the page's own."""
    return f"#f0e1{COLORS.index(name):02x}"


def _axes(figure: "Figure", place: tuple[float, float, float, float], x_label: str, y_label: str) -> "Axes":
    """Soft axes, the left and the lower one alone; `place` is (left, bottom, width, height) in parts of the figure."""
    axes, soft = figure.add_axes(place), _color("soft")
    axes.patch.set_visible(False)
    axes.tick_params(which="both", colors=soft)
    axes.set_xlabel(x_label, color=soft)
    axes.set_ylabel(y_label, color=soft)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(soft)
    return axes


def _ticks(axes: "Axes", values: Sequence[float]) -> None:
    from matplotlib.ticker import NullFormatter

    axes.set_xticks(values, labels=[f"{value:g}" for value in values])
    if len(values) > 6:  # neighbors would read as one number
        axes.tick_params(axis="x", which="major", rotation=45)
    axes.xaxis.set_minor_formatter(NullFormatter())


def _legend(owner: Any, **place: Any) -> None:
    owner.legend(frameon=False, fontsize=8, labelcolor=_color("soft"), borderaxespad=0.2, **place)


def _svg(figure: "Figure", label: str, attributes: str = "") -> str:
    """The figure as an inline SVG element, free of everything that a page must hold once."""
    import matplotlib

    out = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with matplotlib.rc_context({"svg.hashsalt": label}):  # names of shared marks: from the label, not at random
        figure.savefig(out, format="svg", transparent=True, metadata=nothing)
    text = " ".join(NEEDLESS.sub("", out.getvalue()).partition("<svg ")[2].split())
    text = STANDS_FOR.sub(lambda found: f"var(--{COLORS[int(found[1], 16)]})", text)
    return f'<svg role="img" aria-label="{escape(label)}" {attributes}{text}'
