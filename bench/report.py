"""Run the benchmarks side by side and write the report: `python bench/report.py`.

Results are kept as JSON beside the report; a run of some sections (--only) replaces those alone,
and --from-json writes the report anew without measuring.
"""

from __future__ import annotations

import argparse
import datetime
import json
import re
import shlex
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import chart
import data
import footprint
import machine
import optima
import optimum
import problems
import render
import scaling
import targets
from measure import OWN, Effort, Pool, contenders, contest, shown

HERE = Path(__file__).parent
SECTIONS = ("epoch", "kernels", "inference", "scaling", "footprint", "optimum")


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that workers are closed
    parser = _parser()
    options = parser.parse_args()
    try:
        sections = _chosen(options)
        facts = machine.describe()
        name = options.name or machine.slug(facts)
        path = _folder(options) / f"{name}.json"
        results = _earlier(path, options, facts)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    if not options.from_json:
        with Pool() as pool:
            for section in sections:
                started = time.perf_counter()
                found = _run(section, options, facts, pool)
                if options.problem or options.ours:
                    merge = optimum.merged if section == "optimum" else _merged
                    old = results.get(section, {})
                    found = merge(old, found)
                    found["versions"] = old.get("versions", {}) | found["versions"]
                results[section] = found
                results = {name: results[name] for name in SECTIONS if name in results}
                print(f"{section}: {time.perf_counter() - started:.0f} s", flush=True)
                path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    aims = list(targets.rows(results))
    written = [(path.with_suffix(".md"), render.markdown(name, results, aims))]
    for what, svg in chart.charts(results).items():
        written.append((path.with_name(f"{name}-{what}.svg"), svg))
    for file, text in written:
        file.write_text(text, encoding="utf-8")
        print(f"wrote {file}")
    return _count_wrong(results)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two minutes, into build/bench")
    parser.add_argument("--only", action="append", choices=SECTIONS, help="may be repeated")
    parser.add_argument(
        "--problem",
        default="",
        help="those in whose name this regular expression is found; the others' results stay",
    )
    parser.add_argument(
        "--ours", action="store_true", help="of the section optimum run ours alone again"
    )
    parser.add_argument(
        "--threads", type=_count, help="for every library; all CPUs by default", metavar="N"
    )
    parser.add_argument("--rounds", type=_count, help="timed turns of each contender", metavar="N")
    parser.add_argument("--name", help="of the files; by default made from the CPU's")
    parser.add_argument("--output", type=Path, help="directory; bench/results by default")
    parser.add_argument("--from-json", action="store_true", help="only write the report again")
    return parser


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {value}")
    return value


def _chosen(options: argparse.Namespace) -> list[str]:
    """The sections to run: all, those of --only, or those that --problem and --ours can mean."""
    names = _problem_names(options.quick)
    able = {"optimum"} if options.ours else {*names} if options.problem else {*SECTIONS}
    if unable := [section for section in options.only or () if section not in able]:
        option = "--ours" if options.ours else "--problem"
        raise ValueError(f"{option} has no meaning for the section {unable[0]}")
    chosen = [section for section in SECTIONS if section in (options.only or able)]
    if not options.problem:
        return chosen
    try:
        wanted = re.compile(options.problem)
    except re.error as error:
        raise ValueError(f"--problem {options.problem}: no regular expression: {error}") from error
    matching = [section for section in chosen if any(map(wanted.search, names[section]))]
    if not matching:
        known = "; ".join(name for section in chosen for name in names[section])
        raise ValueError(f"--problem {options.problem} is found in no name of these: {known}")
    return matching


def _problem_names(quick: bool) -> dict[str, list[str]]:
    """Of the sections whose problems have names."""
    own = problems.QUICK if quick else problems.FULL
    races = [*optima.QUICK, *optima.QUICK_PATHS] if quick else [*optima.FULL, *optima.PATHS]
    lists: dict[str, Sequence[Any]] = {**own, "optimum": races}
    return {section: [problem.name for problem in found] for section, found in lists.items()}


def _folder(options: argparse.Namespace) -> Path:
    if options.name and Path(options.name).name != options.name:
        raise ValueError(f"--name {options.name}: a name of files, not a path (see --output)")
    default = HERE.parent / "build/bench" if options.quick else HERE / "results"
    folder = Path(options.output or default)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):  # fails now, not after an hour
        return folder


def _earlier(path: Path, options: argparse.Namespace, facts: dict[str, str]) -> dict[str, Any]:
    """The results that the file has, if those of this call may stand beside them."""
    if not path.exists():
        if options.from_json:
            raise ValueError(f"{path}: no such file of results")
        return {}
    try:
        results: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        headers = {section: found["machine"] for section, found in results.items()}
        threads = {int(results[section]["n_threads"]) for section in results}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{path}: not a file of results ({error!r}): move it away") from error
    if options.from_json:
        return results
    n_threads = options.threads or int(facts["threads"])
    for section, found in results.items() if options.problem else ():
        if found.get("data") != _data():
            raise ValueError(
                f"{path} has results ({section}) of {found.get('data')}, not of {_data()}: "
                "give these a --name of their own"
            )
    for section, then in headers.items():
        for fact in ("cpu", "cpu model", "instruction set"):
            if then.get(fact, facts[fact]) != facts[fact]:
                raise ValueError(
                    f"{path} has results ({section}) of another machine: {fact} {then[fact]}, "
                    f"not {facts[fact]}. Give these a --name of their own"
                )
    if threads - {n_threads}:
        raise ValueError(
            f"{path} has results of {threads.pop()} threads, not {n_threads}: give these a --name"
        )
    return results


def _data() -> str:
    return "MNIST" if data.mnist_home() else "synthetic images, as sparse as MNIST"


def _run(
    section: str, options: argparse.Namespace, facts: dict[str, str], pool: Pool
) -> dict[str, Any]:
    n_threads = options.threads or int(facts["threads"])
    rounds, min_seconds = (2, 0.01) if options.quick else (9, 0.1)
    effort = Effort(options.rounds or rounds, min_seconds, options.quick)
    if section == "scaling":
        effort = replace(effort, rounds=min(effort.rounds, scaling.ROUNDS))
    if section == "optimum":
        effort = replace(effort, rounds=1 if options.quick else min(effort.rounds, optimum.ROUNDS))
    found: dict[str, Any] = {
        "date": datetime.date.today().isoformat(),
        "command": shlex.join(["python", "bench/report.py", *sys.argv[1:]]),
        "machine": facts,
        "data": _data(),
        "n_threads": n_threads,
        "rounds": effort.rounds,
        "min_seconds": effort.min_seconds,
    }
    if section == "footprint":
        n = 6_000 if options.quick else 60_000
        return found | {"figures": footprint.measure(effort.rounds, n_threads, n)}
    call = {key: found[key] for key in ("date", "command", "rounds")}
    call["commit"] = facts["commit"]
    if section == "optimum":
        course = optimum.Course(n_threads, effort.rounds, options.ours)
        measured = optimum.measure(pool, course, options.quick, options.problem)
        found |= {kind: [one | {"call": call} for one in measured[kind]] for kind in measured}
    elif section == "scaling":
        found["sweeps"] = scaling.measure(pool, n_threads, effort, options.quick)
    else:
        found["contests"] = [
            shown(contest(pool, p, contenders(pool, p, n_threads), n_threads, effort))
            | {"call": call}
            for p in (problems.QUICK if options.quick else problems.FULL)[section]
            if re.search(options.problem, p.name)
        ]
    found["versions"], found["skipped"] = dict(pool.versions), dict(pool.skipped)
    return found


def _merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """New results, and the old ones of the problems that did not run again, in the usual order."""
    found = {c["problem"]: c for c in [*old.get("contests", []), *new["contests"]]}
    order = [p.name for section in problems.FULL.values() for p in section if p.name in found]
    return new | {"contests": [found[name] for name in dict.fromkeys([*order, *found])]}


def _count_wrong(results: dict[str, Any]) -> int:
    """The exit status: how many contenders gave wrong results, and how many of ours gave none."""
    kinds = ("contests", "races", "paths")
    found = [c for section in results.values() for kind in kinds for c in section.get(kind, [])]
    found += [c for s in results.values() for w in s.get("sweeps", []) for c in w["contests"]]
    rows = [row for contest in found for row in contest["rows"]]
    return sum(row.get("is_wrong", "error" in row and row["library"] == OWN) for row in rows)


if __name__ == "__main__":
    sys.exit(main())
