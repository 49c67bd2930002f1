"""Closed-loop load by wrk, from the system's packages: one process in C, far from being the bottleneck."""

from __future__ import annotations

import json
import resource
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dev.services import programs

_SCRIPT: Final = Path(__file__).parent / "claim.lua"
_THREADS: Final = 1  #: does several times what the two cores of our servers can answer
CONNECTIONS: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """What one slice of load was answered."""

    seconds: float
    statuses: Mapping[int, int]
    codes: Mapping[str, int]  #: of all answers but 202
    used: int  #: how many users were used up, those in flight at the end too
    errors: int  #: connections that broke, answers that took more than 10 s
    core_share: float = 0.0  #: of one core, that wrk took

    def per_s(self, status: int) -> float:
        return self.statuses.get(status, 0) / self.seconds

    def complaints(self, *, status: int, code: str | None = None) -> list[str]:
        """Whatever was answered but this status (and code)."""
        others = {each: count for each, count in self.statuses.items() if each != status}
        told = [f"{count} answers were HTTP {each}: {dict(self.codes)}" for each, count in others.items()]
        if code is not None and set(self.codes) - {code}:
            told.append(f"not all answers were {code}: {dict(self.codes)}")
        return told + ([f"{self.errors} connections or answers failed"] if self.errors else [])


def program() -> Path:
    """wrk: found, installed where we may, or asked for in one line. Raises ServiceError."""
    return programs.require(["wrk"], packages=["wrk"])


def run(
    *,
    port: int,
    heads: Sequence[str],
    first_user: int,
    seconds: int,
    connections: int = CONNECTIONS,
    tickets: Path | None = None,
) -> Counted:
    """Ask for one head + user after the other, user after user, on so many connections at once.

    ``tickets``: a file with a line for each user from the first one on; who has none left asks without.
    """
    words = [f"-t{_THREADS}", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "-s", str(_SCRIPT)]
    script = [str(first_user), str(_THREADS), str(tickets or "-"), *heads]
    cpu_before = _children_cpu_s()
    done = subprocess.run(
        [str(program()), *words, f"http://127.0.0.1:{port}/", "--", *script],
        capture_output=True,
        text=True,
        timeout=seconds + 60,
    )
    counted = [line for line in done.stdout.splitlines() if line.startswith("COUNTED ")]
    if done.returncode != 0 or not counted:
        raise RuntimeError(f"wrk failed: {done.stderr.strip() or done.stdout.strip()}")
    told = json.loads(counted[0].removeprefix("COUNTED "))
    return Counted(
        seconds=told["seconds"],
        statuses={int(status): count for status, count in told["statuses"].items()},
        codes=told["codes"],
        used=told["used"],
        errors=told["errors"],
        core_share=(_children_cpu_s() - cpu_before) / told["seconds"],
    )


def _children_cpu_s() -> float:
    """Of the processes that we started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
