"""start: from a process's start until it is ready, beside Django's own setup."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from statistics import median
from typing import Final

from dev.bench.judging import Figure, Outcome
from dev.bench.run import Run
from dev.bench.stage import Stage, staged, stop
from dev.processes import PROJECT, Process

_LONGEST_S: Final = 60.0


def start(run: Run) -> Outcome:
    """In turn, several times: `django.setup()`, the API, the consumer. The group's rebalance delay is 0."""
    seconds: dict[str, list[float]] = {"setup": [], "api": [], "consumer": []}
    with staged(run) as stage:
        for _ in range(run.scale.starts):
            seconds["setup"].append(_setup_s())
            seconds["api"].append(_ready_s(stage, stage.system.new_api()))
            seconds["consumer"].append(_ready_s(stage, stage.system.new_consumer()))
    setup_s, api_s, consumer_s = (median(each) for each in seconds.values())
    return Outcome(
        name="start",
        figures=[
            Figure(name="start API / setup()", ours=api_s, baseline=setup_s),
            Figure(name="start consumer / setup()", ours=consumer_s, baseline=setup_s),
        ],
        details=seconds,
    )


def _setup_s() -> float:
    started = time.monotonic()
    subprocess.run(
        [sys.executable, "-c", "import django; django.setup()"],
        cwd=PROJECT,
        env=os.environ | {"DJANGO_SETTINGS_MODULE": "couponsite.settings"},
        check=True,
        timeout=_LONGEST_S,
    )
    return time.monotonic() - started


def _ready_s(stage: Stage, process: Process) -> float:
    """Until readiness says 200; for a consumer that means that it has its partitions."""
    started = time.monotonic()
    stage.start(process).wait_ready(within_s=_LONGEST_S, every_s=0.01)
    ready_s = time.monotonic() - started
    stop(process)
    return ready_s
