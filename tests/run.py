"""`make test`: the suite on each stack in lanes side by side, and a line at the end for each of them.

A lane is a part of the suite on servers of its own: tests wait more than they work, and two cores carry five.
The real services are used wherever they can be had: MariaDB, or MySQL with SERVICES_DATABASE=mysql. With
CI=true, or when they were asked for by one of these variables, their absence is a failure.
With COUPON_TEST_STACK=given the suite runs on servers that are named by DATABASE_URL, REDIS_URL and
KAFKA_BOOTSTRAP_SERVERS, without the tests that kill servers.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

_COULD_NOT_START = 4  # pytest's exit code when the plugin tests/stack.py raises UsageError
#: Of about the same length each.
_LANES = {
    "embedded": [
        ["tests/unit", "tests/integration", "tests/concurrency", "tests/e2e"],
        ["tests/contract", "tests/faults", "tests/samples", "tests/browser"],
    ],
    "services": [
        ["tests/integration"],
        ["tests/contract"],
        ["tests/faults", "tests/concurrency", "tests/e2e", "tests/connections"],
    ],
}
_ON_REQUEST = {"given": [[folder for lane in _LANES["services"] for folder in lane]]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    stack: str
    lane: int
    exit_code: int
    told: str  #: pytest's closing line, or why there was none
    servers: str
    seconds: float
    output: str  #: where it did not go to the terminal

    @property
    def passed(self) -> bool:
        if self.exit_code == _COULD_NOT_START and self.stack == "services":
            asked_for = any(os.environ.get(name) for name in ("COUPON_TEST_STACK", "SERVICES_DATABASE"))
            return not asked_for and os.environ.get("CI", "").lower() != "true"
        return self.exit_code == 0

    def line(self) -> str:
        verdict = {0: "ran", _COULD_NOT_START: "NOT RUN"}.get(self.exit_code, "FAILED")
        return f"  {self.stack:8} {self.lane}  {verdict:8} {self.seconds:4.0f} s  {self.told}  {self.servers}"


def run(stack: str, lane: int, arguments: list[str], *, is_shown: bool) -> Run:
    """Run pytest in one lane; its output goes to the terminal if it ``is_shown``, else it is kept."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report"
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *arguments],
            env={
                **os.environ,
                "COUPON_TEST_STACK": stack,
                "COUPON_TEST_LANE": str(lane),
                "COUPON_TEST_REPORT": str(report),
            },
            stdout=None if is_shown else subprocess.PIPE,
            stderr=None if is_shown else subprocess.STDOUT,
            text=True,
        )
        told, _, servers = (report.read_text() if report.exists() else "no report\n").partition("\n")
    return Run(
        stack=stack,
        lane=lane,
        exit_code=done.returncode,
        told=told,
        servers=servers.strip(),
        seconds=time.monotonic() - started,
        output=done.stdout or "",
    )


def main(arguments: list[str]) -> int:
    wanted = os.environ.get("COUPON_TEST_STACK")
    stacks = [wanted] if wanted in _ON_REQUEST else [stack for stack in _LANES if wanted in (None, stack)]
    lanes = [
        (stack, number, lane)
        for stack in stacks
        for number, lane in enumerate([arguments] if arguments else (_LANES | _ON_REQUEST)[stack], start=1)
    ]
    with ThreadPoolExecutor(max(1, len(lanes))) as pool:
        running = [pool.submit(run, *lane, is_shown=lane is lanes[0]) for lane in lanes]
        runs = [each.result() for each in running]
    for each in runs:
        print(each.output)
    print("\nStacks:")
    for each in runs:
        print(each.line())
    return 0 if runs and all(each.passed for each in runs) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
