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
from dev.services.own import PROJECT
from tests.system import Server, ask

_LONGEST_S: Final = 60.0


def start(run: Run) -> Outcome:
    """In turn, several times: `django.setup()`, the API, the consumer. The group's rebalance delay is 0."""
    seconds: dict[str, list[float]] = {"setup": [], "api": [], "consumer": []}
    with staged(run) as stage:
        for _ in range(run.scale.starts):
            seconds["setup"].append(_setup_s())
            seconds["api"].append(_ready_s(stage, stage.system.new_api()))
            seconds["consumer"].append(_ready_s(stage, stage.system.new_consumer()))
    return Outcome(
        name="start",
        figures=[
            _figure("start API / setup()", seconds, "api"),
            _figure("start consumer / setup()", seconds, "consumer"),
        ],
        details=seconds,
    )


def _figure(name: str, seconds: dict[str, list[float]], who: str) -> Figure:
    return Figure(
        name=name,
        unit="s",
        ours=median(seconds[who]),
        baseline=median(seconds["setup"]),
        baseline_name="django.setup()",
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


def _ready_s(stage: Stage, server: Server) -> float:
    """Until readiness says 200; for a consumer that means that it has its partitions."""
    started = time.monotonic()
    stage.start(server, waits=False)
    while ask(server.port, "GET", "/actuator/health/readiness", patience_s=5).status != 200:
        if time.monotonic() - started > _LONGEST_S or server.process.poll() is not None:
            raise RuntimeError(f"it did not become ready: {server.output()[-2000:]}")
        time.sleep(0.01)
    ready_s = time.monotonic() - started
    stop(server)
    return ready_s
