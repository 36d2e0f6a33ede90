"""Inline SVG of the report. Colors are CSS classes of report.css, so that light and dark schemes both work."""

import math
from collections.abc import Sequence
from html import escape

from reproduce.judge import Verdict

WIDTH, HEIGHT = 380, 226
LEFT, RIGHT, TOP, BOTTOM = 62, 12, 14, 40
Points = Sequence[Sequence[float | None]]  # [point][seed]; None where a seed had crashed


def ticks(low: float, high: float, n: int = 5) -> list[float]:
    """About n round numbers (1, 2 or 5 times a power of ten apart) within [low, high]."""
    raw = (high - low) / n
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [k * step for k in range(first, math.floor(high / step + 1e-9) + 1)]


def tick_label(value: float) -> str:
    """1500 -> 1.5k, 2000000 -> 2M, 0.25 -> 0.25."""
    for unit, letter in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= unit:
            return f"{value / unit:.4g}{letter}"
    return f"{value:.4g}" if abs(value) > 1e-12 else "0"


def curve(n_updates: Sequence[float], greedy: Points, sampled: Points, reference: float | None, label: str) -> str:
    """Learning curves of one row: each seed a thin line, `reference` (optimum or paper mean) dashed."""
    values = [v for points in (greedy, sampled) for point in points for v in point if v is not None]
    if not n_updates or not values:
        return ""
    values += [] if reference is None else [reference]
    low, high = min(values), max(values)
    pad = 0.06 * (high - low) or max(0.05 * abs(high), 0.05)
    low, high = low - pad, high + pad
    left, right = min(0.0, *n_updates), max(n_updates) or 1.0

    def x(value: float) -> float:
        return LEFT + (value - left) / (right - left) * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">']
    for value in ticks(low, high):
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{tick_label(value)}</text>')
    for value in ticks(left, right):
        anchor = "end" if x(value) > WIDTH - 30 else "middle"
        parts.append(f'<line class="axis" x1="{x(value):.1f}" x2="{x(value):.1f}" y1="{y(low)}" y2="{y(low) + 4}"/>')
        parts.append(f'<text x="{x(value):.1f}" y="{y(low) + 16}" text-anchor="{anchor}">{tick_label(value)}</text>')
    parts.append(f'<path class="axis" d="M{LEFT} {TOP}V{y(low)}H{WIDTH - RIGHT}"/>')
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 5}" text-anchor="middle">gradient updates</text>'
    )
    turned = f'transform="rotate(-90 12 {middle})" text-anchor="middle"'
    parts.append(f'<text x="12" y="{middle}" {turned}>episode return</text>')
    for name, points in (("sampled", sampled), ("greedy", greedy)):
        for seed in range(max((len(point) for point in points), default=0)):
            line = [(n, point[seed]) for n, point in zip(n_updates, points, strict=False) if seed < len(point)]
            parts.append(f'<path class="{name}" d="{_path(line, x, y)}"/>')
    if reference is not None:
        parts.append(f'<path class="reference" d="M{LEFT} {y(reference):.1f}H{WIDTH - RIGHT}"/>')
    return "".join(parts) + "</svg>"


def _path(line, x, y) -> str:
    """SVG path with a gap where a value is missing; a single point becomes a short dash."""
    pieces, pen = [], "M"
    for n, value in line:
        if value is None:
            pen = "M"
            continue
        pieces.append(f"{pen}{x(n):.1f} {y(value):.1f}")
        pen = "L"
    return "".join(pieces) + ("h3" if len(pieces) == 1 else "")


def interval(verdict: Verdict, one_sided: bool) -> str:
    """The interval of the difference against the margin: a bar over the shaded band [-delta, delta]."""
    if verdict.low is None or verdict.high is None or verdict.difference is None:
        return ""
    margin = verdict.delta or 0.0
    reach = 1.15 * max(abs(verdict.low), abs(verdict.high), margin) or 1.0

    def x(value: float) -> float:
        return 75 + 74 * value / reach

    band = ""
    if margin:
        band_right = 0.0 if one_sided else margin
        band = f'<rect class="band" x="{x(-margin):.1f}" y="2" width="{x(band_right) - x(-margin):.1f}" height="14"/>'
    words = (
        f"difference {verdict.difference:.4g}, interval {verdict.low:.4g} to {verdict.high:.4g}, margin {margin:.4g}"
    )
    return (
        f'<svg class="interval" viewBox="0 0 150 18" role="img" aria-label="{words}">{band}'
        f'<path class="zero" d="M75 0V18"/><path class="bar" d="M{x(verdict.low):.1f} 9H{x(verdict.high):.1f}"/>'
        f'<circle class="dot" cx="{x(verdict.difference):.1f}" cy="9" r="3.5"/></svg>'
    )
