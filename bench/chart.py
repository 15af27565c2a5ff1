"""Charts as SVG text, without a library: bars for a contest, lines for the sweeps."""

from __future__ import annotations

import math
import statistics
from html import escape
from typing import Any

from measure import OWN
from modes import is_core
from optimum import gaps_of
from render import big, duration, is_own, is_valid, label, rate

OWN_COLOR, PEER_COLOR = "#d1495b", "#8a9ba8"
LINE_COLORS = ("#d1495b", "#edae49", "#7a306c", "#30638e", "#8a9ba8")
FONT = 'font-family="system-ui, sans-serif"'


def charts(results: dict[str, Any]) -> dict[str, str]:
    """The charts that the results have the numbers for: name -> SVG."""
    found = {}
    for contest in results.get("epoch", {}).get("contests", []):
        if contest["problem"].endswith("batch 100"):
            found["epoch"] = bars(contest, results["epoch"]["data"])
    if races := results.get("optimum", {}).get("races"):
        found["optimum"] = gap_curves(races)
    if sweeps := results.get("scaling", {}).get("sweeps"):
        found["scaling"] = lines(sweeps)
    return found


def bars(contest: dict[str, Any], data: str) -> str:
    """One bar for each contender, the fastest first."""
    rows = [r for r in contest["rows"] if is_valid(r) and not is_core(r["mode"])]
    rows.sort(key=rate, reverse=True)
    height, top, left, width = 24, 44, 270, 400
    n_threads = max((row["n_threads"] for row in rows), default=1)
    threads = f"{n_threads} thread{'s' * (n_threads > 1)}"
    problem = contest["problem"] + (f" ({data})" if data != "MNIST" else "")
    title = f"One epoch, {problem}, {threads}: {contest['unit']}"
    body = [_text(16, 26, title, size=16, weight="bold")]
    for i, row in enumerate(rows):
        y = top + i * height
        length = max(1.0, width * rate(row) / rate(rows[0]))
        color, weight = (OWN_COLOR, "bold") if is_own(row) else (PEER_COLOR, "normal")
        body.append(_text(left - 8, y + 15, label(row), anchor="end", weight=weight))
        body.append(
            f'<rect x="{left}" y="{y + 2}" width="{length:.1f}" height="{height - 6}" rx="2" '
            f'fill="{color}"/>'
        )
        body.append(_text(left + length + 6, y + 15, big(rate(row)), weight=weight))
    return _svg(left + width + 80, top + len(rows) * height + 12, body)


def lines(sweeps: list[dict[str, Any]]) -> str:
    """A panel for each sweep: seconds an image against the value, both logarithmic."""
    panel_width, panel_height, margin = 400, 260, 60
    body, labels = [], []
    for i, sweep in enumerate(sweeps):
        x, y = margin + i % 2 * panel_width, 50 + i // 2 * panel_height
        body += _panel(sweep, labels, x, y, panel_width - 90, panel_height - 80)
    rows = -(-len(sweeps) // 2)
    for i, text in enumerate(labels):
        x, y = 40 + i % 3 * 260, 30 + rows * panel_height + i // 3 * 20
        body.append(f'<rect x="{x}" y="{y - 9}" width="18" height="4" fill="{_color(i)}"/>')
        body.append(_text(x + 24, y, text))
    body.append(_text(16, 24, "Time for each image of an epoch", size=16, weight="bold"))
    return _svg(2 * panel_width + 20, 60 + rows * panel_height + 20, body)


def gap_curves(races: list[dict[str, Any]]) -> str:
    """A panel for each problem: the gap against the seconds, both logarithmic."""
    panel_width, panel_height = 460, 300
    body, labels = [], []
    for i, race in enumerate(races):
        x, y = 60 + i % 2 * panel_width, 60 + i // 2 * panel_height
        body += _race_panel(race, labels, x, y, panel_width - 90, panel_height - 90)
    rows = -(-len(races) // 2)
    for i, text in enumerate(labels):
        x, y = 40 + i % 3 * 300, 40 + rows * panel_height + i // 3 * 20
        body.append(f'<path d="M{x} {y - 4}H{x + 22}" {_stroke(i)}/>')
        body.append(_text(x + 28, y, text))
    body.append(_text(16, 24, "Relative gap to the optimum against seconds", 16, weight="bold"))
    return _svg(2 * panel_width + 20, 60 + rows * panel_height + 20 * -(-len(labels) // 3), body)


def _race_panel(
    race: dict[str, Any], labels: list[str], x: float, y: float, width: float, height: float
) -> list[str]:
    floor = min(race["gaps"]) / 10
    curves: dict[str, list[tuple[float, float]]] = {}
    for row in race["rows"]:
        if is_own(row) and row["n_threads"] == 1 < max(r["n_threads"] for r in race["rows"]):
            continue
        traces = [trace for trace in gaps_of(race, row) if trace] if row.get("traces") else []
        traces.sort(key=lambda trace: trace[-1][0])
        trace = traces[len(traces) // 2] if traces else []  # the one of the median time
        best, points = math.inf, []
        for seconds, gap in trace:  # the lowest so far: line searches go up and down
            if gap < best:
                best = gap
                points.append((max(seconds, 1e-4), min(max(gap, floor), 1.0)))
        if points:
            curves[label(row)] = points
    seconds = [point[0] for points in curves.values() for point in points]
    if not seconds:
        return []
    ticks = [10.0**p for p in range(math.floor(math.log10(min(seconds))), 3)]
    ticks = [tick for tick in ticks if min(seconds) / 2 <= tick <= 2 * max(seconds)]
    levels = [10.0**p for p in range(round(math.log10(floor)), 1)]
    across, up = _scale(seconds, x, width), _scale(levels, y, height)
    body = [f'<path d="M{x} {y}V{y + height}H{x + width}" fill="none" stroke="#555"/>']
    body.append(_text(x + width / 2, y - 8, race["problem"], anchor="middle", weight="bold"))
    for tick in ticks:
        body.append(_text(across(tick), y + height + 15, duration(tick), 10, anchor="middle"))
    for level in levels:
        at = 2 * y + height - up(level)
        body.append(f'<path d="M{x} {at:.1f}H{x + width}" stroke="#ddd"/>')
        body.append(_text(x - 4, at + 4, f"{level:.0e}", 10, anchor="end"))
    for name, points in curves.items():
        if name not in labels:
            labels.append(name)
        path = "L".join(f"{across(s):.1f} {2 * y + height - up(g):.1f}" for s, g in points)
        stroke = _stroke(labels.index(name), 4 if name.startswith(OWN) else 2)
        body.append(f'<path d="M{path}" fill="none" {stroke}/>')
    return body


def _stroke(index: int, width: int = 2) -> str:
    """Five colors, then the same dashed, then dotted."""
    dashes = (
        "",
        ' stroke-dasharray="7 3"',
        ' stroke-dasharray="2 3"',
        ' stroke-dasharray="9 3 2 3"',
    )
    return f'stroke="{_color(index)}" stroke-width="{width}"{dashes[index // len(LINE_COLORS) % 4]}'


def _panel(
    sweep: dict[str, Any], labels: list[str], x: float, y: float, width: float, height: float
) -> list[str]:
    curves: dict[str, list[tuple[float, float]]] = {}
    for contest in sweep["contests"]:
        for row in filter(is_valid, contest["rows"]):
            seconds = statistics.median(row["seconds"]) / row["work"]
            name = label(row, sweep["axis"])
            curves.setdefault(name, []).append((contest["value"], seconds))
    points = [point for curve in curves.values() for point in curve]
    if not points:
        return []
    ticks = _ticks([point[1] for point in points])
    across, up = _scale([point[0] for point in points], x, width), _scale(ticks, y, height)
    bottom = y + height
    body = [f'<path d="M{x} {y}V{bottom}H{x + width}" fill="none" stroke="#555"/>']
    body.append(_text(x + width / 2, bottom + 32, sweep["axis"], anchor="middle", weight="bold"))
    for value in {contest["value"] for contest in sweep["contests"]}:
        body.append(_text(across(value), bottom + 15, big(value), size=10, anchor="middle"))
    for tick in ticks:
        level = 2 * y + height - up(tick)
        body.append(f'<path d="M{x} {level:.1f}H{x + width}" stroke="#ddd"/>')
        body.append(_text(x - 4, level + 4, duration(tick), size=10, anchor="end"))
    for name, curve in curves.items():
        if name not in labels:
            labels.append(name)
        path = "L".join(f"{across(v):.1f} {2 * y + height - up(s):.1f}" for v, s in curve)
        color = _color(labels.index(name))
        body.append(f'<path d="M{path}" fill="none" stroke="{color}" stroke-width="2"/>')
    return body


def _scale(values: list[float], start: float, length: float) -> Any:
    """A logarithmic scale over the values."""
    low, high = math.log(min(values)), math.log(max(values))
    return lambda value: start + length * (math.log(value) - low) / ((high - low) or 1)


def _ticks(values: list[float]) -> list[float]:
    """1, 2, 5 times powers of ten that enclose the values; powers alone, if those are many."""
    powers = range(math.floor(math.log10(min(values))), math.ceil(math.log10(max(values))) + 1)
    ticks = [digit * 10.0**power for power in powers for digit in (1, 2, 5)]
    first = max(i for i, tick in enumerate(ticks) if tick <= min(values) * 1.001)
    last = min(i for i, tick in enumerate(ticks) if tick >= max(values) * 0.999)
    if last - first < 8:
        return ticks[first : last + 1]
    return [10.0**power for power in powers]


def _color(index: int) -> str:
    return LINE_COLORS[index % len(LINE_COLORS)]


def _text(
    x: float, y: float, text: str, size: int = 12, anchor: str = "start", weight: str = "normal"
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" '
        f'font-weight="{weight}" fill="#222" {FONT}>{escape(text)}</text>'
    )


def _svg(width: float, height: float, body: list[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}">'
    background = '<rect width="100%" height="100%" rx="6" fill="#fff"/>'  # for dark pages, too
    return "\n".join([head, background, *body, "</svg>"]) + "\n"
