"""Rows of ``--clusters`` whose servers differ: a process of its own for each choice of servers.

Django reads once where the servers are.
"""

from __future__ import annotations

import argparse
import itertools
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from dev.faults import reporting
from dev.faults.case import Case
from dev.faults.table import Row
from dev.processes import PROJECT


def run_by_parts(cases: Sequence[Case], options: argparse.Namespace) -> int:
    """Run the cases, those that follow each other on the same parts together; the exit code of all."""
    rows: list[Row] = []
    stacks: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        for parts, some in itertools.groupby(cases, key=lambda case: case.parts):
            print(f"\non {', '.join(sorted(parts))}:", flush=True)
            found = Path(folder) / f"{len(stacks)}.json"
            code = _run([case.name for case in some], on=sorted(parts), found=found, options=options)
            if not found.exists():  # it could not begin, or was interrupted
                return code or 1
            more, stack = reporting.read(found)
            rows += more
            stacks.append(stack)
    print("\nall of them:")
    return reporting.report(rows, stack="; ".join(dict.fromkeys(stacks)), options=options)


def _run(names: Sequence[str], *, on: Sequence[str], found: Path, options: argparse.Namespace) -> int:
    words = ["--clusters", *on, "--only", *names, "--json", str(found)]
    if options.short:
        words.append("--short")
    with subprocess.Popen([sys.executable, "-m", "dev.faults", *words], cwd=PROJECT) as running:
        try:
            return running.wait()
        except KeyboardInterrupt:  # of both: it stops its servers
            return running.wait()
