"""Starts ``generator.py`` in a process of its own and reads what it found."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

from dev.bench.generator import Plan, Report
from dev.processes import PROJECT


@contextmanager
def sent(plan: Plan) -> Iterator[subprocess.Popen[str]]:
    """The generator at work; ended with the block if it has not ended by itself."""
    command = [sys.executable, "-m", "dev.bench.generator", json.dumps(asdict(plan))]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=PROJECT, stdout=pipe, stderr=pipe, text=True) as generator:
        try:
            yield generator
        finally:
            generator.kill()


def report_of(generator: subprocess.Popen[str], *, within_s: float) -> Report:
    """Wait for its end. Raises RuntimeError if it failed."""
    told, errors = generator.communicate(timeout=within_s)
    if generator.returncode != 0:
        raise RuntimeError(f"the load generator failed: {errors.strip()[-500:]}")
    return Report(**json.loads(told))


def run(plan: Plan) -> Report:
    with sent(plan) as generator:
        return report_of(generator, within_s=plan.limit_s + 30)
