"""Runs many tasks of one kind in child processes with limits of memory and time, and tells which task a dead child was at.

A kind is a module with `tasks(seed, long) -> list of one-line names`, `prepare()` (in a new folder) and `judge(task) -> (what happened, what
is wrong with it or "")`; SECONDS and LIMITED change the limits.
One task again, in the open:  python tests/reliability/hunt.py arguments "ops.relu x=None"
"""

import faulthandler
import importlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

TESTS = Path(__file__).parents[1]
MEMORY = 1 << 30  # bytes that all calls of a child may take beyond what loading the package took
SECONDS = 60.0  # a task may take, compiling a kernel on a busy machine included
KINDS = [kind for kind in ("arguments", "commands", "forks", "mutations") if (Path(__file__).parent / f"{kind}.py").exists()]


class Report(NamedTuple):
    kind: str
    seed: int
    outcomes: Counter
    faults: dict[str, str]  # by task

    def __str__(self) -> str:
        """One fault of each cause, as its first words show, and the counts."""
        alike: dict[tuple[str, str], list[str]] = {}
        for task, fault in self.faults.items():
            alike.setdefault((task.split(" ")[0], re.sub(r"[0-9]+", "", fault)[:90]), []).append(task)
        lines = [
            f"{task}{f' and {len(more)} like it' if more else ''}\n    {self.faults[task]}\n    python tests/reliability/hunt.py {self.kind} '{task}'"
            for task, *more in alike.values()
        ]
        counts = ", ".join(f"{count} {outcome}" for outcome, count in self.outcomes.most_common())
        return "\n".join([*lines, f"{self.kind}, seed {self.seed}: {self.outcomes.total()} tasks ({counts}), {len(self.faults)} faults"])


def hunt(kind: str, seed: int, long: bool) -> Report:
    module = importlib.import_module(f"reliability.{kind}")
    tasks, seconds = module.tasks(seed, long), getattr(module, "SECONDS", SECONDS)
    report = Report(kind, seed, Counter(), {})
    done = 0
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "tasks.json").write_text(json.dumps(tasks))
        while done < len(tasks):
            done = _child(report, tasks, done, Path(folder), seconds)
    return report


def _child(report: Report, tasks: list[str], first: int, folder: Path, seconds: float) -> int:
    """One child from task number `first` until it ends or dies; returns the number of the next task."""
    results = folder / f"results-{first}"
    results.touch()
    places = [str(TESTS), str(TESTS.parent), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, places)), "MPLBACKEND": "agg", "OPENBLAS_NUM_THREADS": "1"}
    words = [sys.executable, "-m", "reliability.hunt", report.kind, "--tasks", str(folder / "tasks.json"), str(first), str(results)]
    with open(folder / f"log-{first}", "w+b") as log:
        child = subprocess.Popen(words, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        size, since, late = -1, time.monotonic(), False
        while child.poll() is None and not late:
            time.sleep(0.05)
            now = results.stat().st_size
            if now != size:
                size, since = now, time.monotonic()
            late = time.monotonic() - since > seconds
        child.kill()
        code = child.wait()
        log.seek(0)
        last = log.read()[-600:].decode(errors="replace")
    ready, *lines = [json.loads(line) for line in results.read_text().splitlines()] or [False]
    if not ready:
        report.faults["prepare()"] = f"exit code {code}; the last words were: {last}"
        return len(tasks)
    for task, (outcome, fault) in zip(tasks[first:], lines):
        report.outcomes[outcome] += 1
        if fault:
            report.faults[task] = fault
    done = first + len(lines)
    if done < len(tasks):
        outcome = f"no end within {seconds:g} s" if late else f"exit code {code}"
        report.outcomes[outcome] += 1
        report.faults[tasks[done]] = f"{outcome}; the last words were: {last}"
    return done + 1


def _work(kind: str, tasks: list[str], results: Path) -> None:
    """In the child: a line for each task, as soon as it is done."""
    module = importlib.import_module(f"reliability.{kind}")
    with tempfile.TemporaryDirectory() as folder, open(results, "w") as lines:
        os.chdir(folder)
        module.prepare()
        if getattr(module, "LIMITED", True):
            _limit_memory()
        print("true", file=lines, flush=True)
        for task in tasks:
            print(json.dumps(module.judge(task)), file=lines, flush=True)
        os.chdir("/")


def _limit_memory() -> None:
    try:
        import resource
    except ImportError:  # Windows
        return
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() if Path("/proc/self/statm").exists() else 4 << 30
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, -1))


if __name__ == "__main__":
    faulthandler.enable()
    sys.path[:0] = [str(TESTS), str(TESTS.parent)]
    if sys.argv[2] == "--tasks":
        _work(sys.argv[1], json.loads(Path(sys.argv[3]).read_text())[int(sys.argv[4]) :], Path(sys.argv[5]))
    else:
        with tempfile.TemporaryDirectory() as new:
            _work(sys.argv[1], sys.argv[2:], Path(new) / "results")
            print(*(Path(new) / "results").read_text().splitlines()[1:], sep="\n")
