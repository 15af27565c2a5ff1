"""Run the benchmarks side by side and write the report: `python bench/report.py`.

Results are kept as JSON beside the report; a run of some sections (--only) replaces those alone,
and --from-json writes the report anew without measuring.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import re
import shlex
import signal
import sys
import time
from pathlib import Path
from typing import Any

import chart
import data
import footprint
import machine
import optimum
import problems
import render
import scaling
from measure import Effort, Pool, contenders, contest

HERE = Path(__file__).parent
SECTIONS = ("epoch", "kernels", "inference", "scaling", "footprint", "optimum")


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that workers are closed
    options = _parse()
    facts = machine.describe()
    name = options.name or machine.slug(facts)
    folder = options.output or (HERE.parent / "build/bench" if options.quick else HERE / "results")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    results: dict[str, Any] = {}
    with contextlib.suppress(FileNotFoundError):
        results = json.loads(path.read_text(encoding="utf-8"))
    if not options.from_json:
        with Pool() as pool:
            for section in options.only or SECTIONS:
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
    written = [(folder / f"{name}.md", render.markdown(name, results))]
    written += [(folder / f"{name}-{what}.svg", svg) for what, svg in chart.charts(results).items()]
    for file, text in written:
        file.write_text(text, encoding="utf-8")
        print(f"wrote {file}")
    return _count_wrong(results)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="some three minutes, into build/bench")
    parser.add_argument("--only", action="append", choices=SECTIONS, help="may be repeated")
    parser.add_argument(
        "--problem",
        default="",
        help="those in whose name this regular expression is found; the others' results stay",
    )
    parser.add_argument(
        "--ours", action="store_true", help="of the section optimum: run ours alone again"
    )
    parser.add_argument("--threads", type=int, help="for every library; all CPUs by default")
    parser.add_argument("--rounds", type=int, help="timed turns of each contender")
    parser.add_argument("--name", help="of the files; by default made from the CPU's")
    parser.add_argument("--output", type=Path, help="directory; bench/results by default")
    parser.add_argument("--from-json", action="store_true", help="only write the report again")
    return parser.parse_args()


def _run(
    section: str, options: argparse.Namespace, facts: dict[str, str], pool: Pool
) -> dict[str, Any]:
    n_threads = options.threads or int(facts["threads"])
    effort = Effort(options.rounds or (2 if options.quick else 9), 0.01 if options.quick else 0.1)
    found: dict[str, Any] = {
        "date": datetime.date.today().isoformat(),
        "command": shlex.join(["python", "bench/report.py", *sys.argv[1:]]),
        "machine": facts,
        "data": "MNIST" if data.mnist_home() else "synthetic images, as sparse as MNIST",
        "n_threads": n_threads,
        "rounds": effort.rounds,
        "min_seconds": effort.min_seconds,
    }
    if section == "footprint":
        return found | {"figures": footprint.measure(effort.rounds)}
    if section == "optimum":
        found["rounds"] = 1 if options.quick else min(effort.rounds, optimum.ROUNDS)
        course = optimum.Course(n_threads, found["rounds"], options.ours)
        found |= optimum.measure(pool, course, options.quick, options.problem)
    elif section == "scaling":
        found["sweeps"] = scaling.measure(pool, n_threads, effort, options.quick)
    else:
        found["contests"] = [
            _shown(contest(pool, p, contenders(pool, p, n_threads), n_threads, effort))
            for p in (problems.QUICK if options.quick else problems.FULL)[section]
            if re.search(options.problem, p.name)
        ]
    found["versions"], found["skipped"] = dict(pool.versions), dict(pool.skipped)
    return found


def _merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """New results, and the old ones of the problems that did not run again."""
    found = {c["problem"]: c for c in [*old.get("contests", []), *new.get("contests", [])]}
    return new | {"contests": list(found.values())} if found else new


def _shown(result: dict[str, Any]) -> dict[str, Any]:
    """The result itself, after a line of progress."""
    failed = [f"{r['library']} {r['mode']}: {r['error']}" for r in result["rows"] if "error" in r]
    print(f"  {result['problem']}", *failed, sep="\n    ", flush=True)
    return result


def _count_wrong(results: dict[str, Any]) -> int:
    """The exit status: how many contenders gave wrong results."""
    contests = [c for section in results.values() for c in section.get("contests", [])]
    contests += [c for s in results.values() for w in s.get("sweeps", []) for c in w["contests"]]
    return sum(row.get("is_wrong", False) for found in contests for row in found["rows"])


if __name__ == "__main__":
    sys.exit(main())
