"""What ``generator.py`` is asked to do and what it found; it runs in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace

from dev.processes import PROJECT


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    port: int
    heads: Sequence[str]  #: the requests' targets, up to the user's id, one after the other
    first_user: int
    count: int  #: requests, each by the next user
    connections: int
    limit_s: float  #: no longer than this
    per_s: float | None = None  #: None: closed loop
    sources: Sequence[str] = ()  #: addresses of this machine, one connection from each in turn
    keeps: bool = False  #: print a line when all is answered; keep the connections open until stdin ends


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Lists have an entry per request that was answered; seconds from the beginning."""

    began_at: float  #: epoch seconds
    seconds: float
    cpu_s: float  #: that this process took
    due: list[float]
    took: list[float]
    late: list[float]  #: from due to sent
    statuses: list[int]  #: 0: the connection broke
    codes: dict[str, int]
    unanswered: int
    lost: int = 0  #: connections that were to be kept, and the server closed them

    def complaints(self, *expected: int) -> list[str]:
        """Whatever was answered but these statuses."""
        others = Counter(status for status in self.statuses if status not in expected)
        told = [f"{count} answers were HTTP {status}: {self.codes}" for status, count in others.items()]
        told += [f"{self.unanswered} claims were not answered"] if self.unanswered else []
        return told + ([f"{self.lost} kept connections were closed"] if self.lost else [])


@contextmanager
def sent(plan: Plan) -> Iterator[subprocess.Popen[str]]:
    """The generator at work; ended with the block if it has not ended by itself."""
    command = [sys.executable, "-m", "dev.bench.generator", json.dumps(asdict(plan))]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=PROJECT, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as generator:
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


@contextmanager
def kept(plan: Plan, complaints: list[str]) -> Iterator[None]:
    """So many connections, each of which has claimed once, stay open meanwhile."""
    with sent(replace(plan, keeps=True)) as generator:
        if generator.stdout is not None:
            generator.stdout.readline()
        yield
        complaints += report_of(generator, within_s=30).complaints(202)


def run(plan: Plan) -> Report:
    with sent(plan) as generator:
        return report_of(generator, within_s=plan.limit_s + 30)
