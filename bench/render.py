"""The report as Markdown, from the results."""

from __future__ import annotations

import re
import statistics
from typing import Any

from measure import OWN
from modes import is_core, reads_bytes
from optimum import gaps_of, seconds_to

Row = dict[str, Any]


def markdown(name: str, results: dict[str, Any], aims: list[list[str]]) -> str:
    """The whole report; the aims are rows of targets.py."""
    lines = [
        f"# {name}",
        "",
        "Written by `python bench/report.py`; [how to read it](../README.md).",
        "",
    ]
    contests = [c for section in results.values() for c in section.get("contests", [])]
    if contests:
        lines += ["## At a glance", "", *_glance(contests)]
    if aims:
        head = ["workload", "ours", "aim", "reached", "met"]
        lines += ["", "## Aims", "", *_table(head, aims)]
    for section in ("epoch", "kernels", "inference"):
        if section in results:
            lines += ["", f"## {section.capitalize()}", "", *_provenance(results[section])]
            for found in results[section]["contests"]:
                lines += ["", *_contest(found, results[section])]
    if "scaling" in results:
        lines += ["", "## Scaling", "", *_provenance(results["scaling"])]
        for sweep in results["scaling"]["sweeps"]:
            lines += ["", *_sweep(sweep)]
    if "optimum" in results:
        lines += ["", "## Optimum", "", *_provenance(results["optimum"])]
        for found in results["optimum"]["races"]:
            lines += ["", *_race(found, results["optimum"])]
        for found in results["optimum"]["paths"]:
            lines += ["", *_path(found, results["optimum"])]
    if "footprint" in results:
        lines += ["", "## Footprint", "", *_provenance(results["footprint"]), ""]
        figures = results["footprint"]["figures"]
        head = ["", "median (of memory: one fit)"]
        lines += _table(head, [[k, number(v)] for k, v in figures.items()])
    return "\n".join(lines) + "\n"


def is_valid(row: Row) -> bool:
    return "error" not in row and bool(row["seconds"])


def rate(row: Row) -> float:
    return float(row["work"] / statistics.median(row["seconds"]))


def is_own(row: Row) -> bool:
    return bool(row["library"] == OWN)


def ratio(row: Row, other: Row) -> float:
    """How many times faster `row` is than `other`: the median of the ratios of each round."""
    scale = row["work"] / other["work"]
    pairs = zip(row["seconds"], other["seconds"], strict=True)
    return statistics.median(scale * theirs / ours for ours, theirs in pairs)


def fastest_peer(rows: list[Row], ours: Row) -> Row | None:
    """The fastest in any mode that reads what ours does: of float32 those that read float32."""
    return max(
        (r for r in rows if is_valid(r) and not is_own(r) and _may_meet(ours, r)),
        key=rate,
        default=None,
    )


def _best_of_ours(rows: list[Row], other: Row) -> Row | None:
    """The fastest of ours that users call, and that reads what the other one does."""
    ours = [r for r in rows if is_valid(r) and is_own(r) and not is_core(r["mode"])]
    return max((r for r in ours if _may_meet(other, r)), key=rate, default=None)


def _may_meet(row: Row, other: Row) -> bool:
    """Whose X is float32 is not compared with those that read bytes."""
    return reads_bytes(row["mode"]) or not reads_bytes(other["mode"])


def number(value: float | None, digits: int = 3) -> str:
    """Three significant digits, never an exponent."""
    if value is None:
        return "unknown"
    if abs(value) >= 10 ** (digits - 1):
        return f"{value:,.0f}"
    text = f"{value:.{digits}g}"
    return text if "e" not in text else f"{value:.6f}"


def big(value: float) -> str:
    """A rate with three digits and k, M or G."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return (
                f"{value / size:.3g} {unit}"
                if value < 999.5 * size
                else f"{value / size:.0f} {unit}"
            )
    return f"{value:.3g}"


def duration(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size:
            return f"{number(seconds / size)} {unit}"
    return f"{number(seconds / 1e-9)} ns"


def share_of_memory(row: Row, limits: dict[str, float]) -> float | None:
    """Of the bandwidth, that a row reaches."""
    (kind, n_bytes), *_ = row["traffic"].items()
    seconds = statistics.median(row["seconds"])
    return float(n_bytes / seconds * 1e-9 / limits[kind]) if kind in limits else None


def share_of_peak(row: Row, limits: dict[str, float]) -> float | None:
    """Of the multiply-adds, that a row reaches."""
    peaks = [value for name, value in limits.items() if name.startswith("fma")]
    seconds = statistics.median(row["seconds"])
    return float(row["flops"] / seconds * 1e-9 / max(peaks)) if peaks else None


def percent(share: float | None) -> str:
    return "unknown" if share is None else f"{share:.0%}"


def shares(row: Row, limits: dict[str, float]) -> tuple[str, str]:
    """Shares of the memory bandwidth and of the multiply-add peak that a row reaches."""
    of_peak = percent(share_of_peak(row, limits)) if row["flops"] else "-"
    return percent(share_of_memory(row, limits)), of_peak


def _glance(contests: list[dict[str, Any]]) -> list[str]:
    table = []
    for found in contests:
        rows = found["rows"]
        most = max(row["n_threads"] for row in rows)
        for row in filter(is_valid, filter(is_own, rows)):
            if row["n_threads"] != most or (found["kind"] == "epoch" and is_core(row["mode"])):
                continue
            peer = fastest_peer(rows, row)
            single = [
                r
                for r in filter(is_valid, filter(is_own, rows))
                if r["mode"] == row["mode"] and r["n_threads"] == 1
            ]
            table.append([
                found["problem"],
                row["mode"],
                f"{big(rate(row))} {found['unit']}",
                f"{number(ratio(row, peer))}x" if peer else "-",
                f"{peer['library']}, {peer['mode']}" if peer else "-",
                *shares(row, found["limits"]),
                f"{ratio(row, single[0]):.2f}x" if single and most > 1 else "-",
            ])  # fmt: skip
    head = "workload|ours|rate|to fastest peer|which is|of memory|of FMA|to 1 thread"
    return _table(head.split("|"), table)


def _provenance(section: dict[str, Any]) -> list[str]:
    facts = section["machine"]
    n_rounds = section["rounds"]
    if "sweeps" in section:  # of older results it is not what was asked for
        sizes = [c["rows"] for sweep in section["sweeps"] for c in sweep["contests"]]
        n_rounds = max((len(r["seconds"]) for rows in sizes for r in rows), default=0)
    effort = f"{n_rounds} rounds of at least {section['min_seconds']} s a turn"
    if "races" in section:
        n_runs = section["rounds"]
        effort = f"{n_runs} run{'s' * (n_runs > 1)} of ours among one of each other"
    commit = f" at {facts['commit']}" if "commit" in facts else ""
    core = f"fastsoftmax {facts['fastsoftmax']}{commit} ({facts['instruction set']})"
    model = f" ({facts['cpu model']})" if "cpu model" in facts else ""
    lines = [
        f"{section['date']}, `{section['command']}`: {effort}, {section['n_threads']} threads.",
        f"{facts['cpu']}{model}, {facts['threads']} CPUs, {facts['memory']}, {facts['platform']}.",
        f"{core}, Python {facts['python']}, {facts['compiler of the limits']}; {section['data']}.",
    ]
    if section.get("versions"):
        lines.append(
            ", ".join(f"{k} {v}" for k, v in section["versions"].items() if k != OWN) + "."
        )
    if section.get("skipped"):
        lines.append("Skipped: " + "; ".join(section["skipped"].values()) + ".")
    return lines


def _earlier_call(found: dict[str, Any], section: dict[str, Any]) -> str:
    """Say so where a contest is not of the call that stands at the head of its section."""
    n_rounds = max((len(row["seconds"]) for row in found["rows"]), default=0)
    call = found.get("call")
    if call:
        if call["date"] == section["date"] and call["command"] == section["command"]:
            return ""
        return f"{call['date']}, at {call['commit']}, `{call['command']}`: {n_rounds} rounds. "
    asked = re.search(r"--problem[ =](?:'([^']*)'|(\S+))", section["command"])
    if not asked or re.search(asked[1] or asked[2], found["problem"]):
        return ""
    return f"Of an earlier call, {n_rounds} rounds. "


def _contest(found: dict[str, Any], section: dict[str, Any]) -> list[str]:
    rows = sorted(filter(is_valid, found["rows"]), key=rate, reverse=True)
    table = []
    for row in rows:
        best = _best_of_ours(rows, row)
        seconds = row["seconds"]
        mode = row["mode"] + (f" ({row['work']:,.0f} images only)" if row["is_shortened"] else "")
        table.append([
            f"**{row['library']}**" if is_own(row) else row["library"],
            mode,
            str(row["n_threads"]),
            duration(row["cold"]),
            duration(statistics.median(seconds)),
            f"{duration(min(seconds))} .. {duration(max(seconds))}",
            big(rate(row)),
            f"{number(ratio(best, row))}x" if best else "-",
            *shares(row, found["limits"]),
        ])  # fmt: skip
    head = "library|mode|threads|first call|median|range|UNIT|best of ours is faster|memory|FMA"
    first = _earlier_call(found, section) + _limits(found["limits"])
    lines = [f"### {found['problem']}", "", first, ""]
    lines += _table(head.replace("UNIT", found["unit"]).split("|"), table)
    failures = [row for row in found["rows"] if "error" in row]
    lines += [f"- {row['library']}, {row['mode']}: {row['error']}" for row in failures]
    return lines


def _limits(limits: dict[str, float]) -> str:
    texts = [
        f"{name.replace('fma_', 'FMA ')} {value:.1f} {'GFLOP/s' if 'fma' in name else 'GB/s'}"
        for name, value in limits.items()
    ]
    return "Limits measured beside it: " + ", ".join(texts) + "."


def label(row: Row, axis: str = "") -> str:
    """A contender in a few words; the number of threads only where it is one, and not the subject."""
    if axis == "threads":
        return f"{row['library']}, {row['mode']}"
    mode = row["mode"] + (", 1 thread" if is_own(row) and row["n_threads"] == 1 else "")
    return f"{row['library']}, {mode}"


def _sweep(sweep: dict[str, Any]) -> list[str]:
    axis = sweep["axis"]
    columns = list(dict.fromkeys(label(row, axis) for c in sweep["contests"] for row in c["rows"]))
    table = []
    for found in sweep["contests"]:
        times = {
            label(r, axis): duration(statistics.median(r["seconds"]))
            for r in filter(is_valid, found["rows"])
        }
        table.append(
            [f"{found['value']:,}", f"{found['n']:,}", *(times.get(c, "-") for c in columns)]
        )
    return _table([axis, "images", *columns], table)


def _race(found: dict[str, Any], section: dict[str, Any]) -> list[str]:
    """Seconds of each contender to each gap, and how many times faster our best is to the same gap."""
    rows = [row for row in found["rows"] if any(row.get("traces", ()))]
    times = [[seconds_to(found, row, gap) for gap in found["gaps"]] for row in rows]
    best = [
        min(
            (t[i] for row, t in zip(rows, times, strict=True) if is_own(row) and t[i]), default=None
        )
        for i in range(len(found["gaps"]))
    ]
    table = []
    for row, own_times in zip(rows, times, strict=True):
        cells = [f"**{row['library']}**" if is_own(row) else row["library"], row["mode"]]
        cells.append(str(row["n_threads"]))
        for time, fastest in zip(own_times, best, strict=True):
            # What has not arrived takes longer than its last point.
            last = max(trace[-1][0] for trace in row["traces"] if trace)
            text = duration(time) if time else f"> {duration(last)}"
            if fastest:
                text += f" ({'' if time else '> '}{number((time or last) / fastest)}x)"
            cells.append(text)
        final = [gap for trace in gaps_of(found, row) for _, gap in trace]
        cells.append(f"{min(final):.1e}" if final else "-")
        table.append(cells)
    head = [
        "library",
        "mode",
        "threads",
        *(f"to {gap:.0e}" for gap in found["gaps"]),
        "smallest gap",
    ]
    proven = found["proven gap of the minimum"]
    lines = [f"### {found['problem']}", ""]
    lines += [
        f"F* = {found['minimum']:.9g}"
        + (f", proven to a gap of {proven:.1e}" if proven is not None else "")
        + f"; at most {found['cap']:g} s for each{_longer(found)}. In brackets: the time as a multiple of our best."
        + _when(found, section),
        "",
    ]
    lines += _table(head, table)
    lines += [f"- {r['library']}, {r['mode']}: {r['error']}" for r in found["rows"] if "error" in r]
    return lines


def _longer(found: dict[str, Any]) -> str:
    longest = found.get("long cap", 0.0)
    return f" ({longest:g} for scikit-learn's default)" if longest > found["cap"] else ""


def _when(found: dict[str, Any], section: dict[str, Any]) -> str:
    """Say so where all ran before, or where ours have run again without the others."""
    text, call = "", found.get("call")
    if call and (call["date"], call["command"]) != (section["date"], section["command"]):
        text = f" Of an earlier call, {call['date']}, at {call['commit']}, `{call['command']}`."
    elif found.get("date", section["date"]) != section["date"]:
        text = f" Of an earlier call, {found['date']}."
    return text + (f" The others ran before, {found['others']}." if "others" in found else "")


def _path(found: dict[str, Any], section: dict[str, Any]) -> list[str]:
    rows = [row for row in found["rows"] if row.get("seconds") and not row.get("is_wrong")]
    best = min(
        (
            statistics.median(r["seconds"])
            for r in rows
            if is_own(r) and r["models"] == found["models"]
        ),
        default=None,
    )
    table = []
    for row in rows:
        seconds = statistics.median(row["seconds"])
        is_whole = row["models"] == found["models"]
        gap = row["worst gap"]
        table.append([
            f"**{row['library']}**" if is_own(row) else row["library"],
            row["mode"],
            str(row["n_threads"]),
            duration(seconds) if is_whole else f"> {duration(seconds)}",
            f"{row['models']} of {found['models']}",
            "-" if gap is None else f"{gap:.1e}",
            f"{'' if is_whole else '> '}{number(seconds / best)}x" if best else "-",
        ])  # fmt: skip
    head = "library|mode|threads|seconds|models|largest gap|as a multiple of our best"
    lines = [f"### {found['problem']}", ""]
    lines += [f"Each model to a gap of {found['gap']:.0e}." + _when(found, section), ""]
    lines += _table(head.split("|"), table)
    lines += [f"- {r['library']}, {r['mode']}: {r['error']}" for r in found["rows"] if "error" in r]
    return lines


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    return ["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows)]
