"""What gunicorn is told: how many connections a worker has, how long it may take to stop."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest

from couponsite import gunicorn_conf
from dev.embedded import supervisor
from dev.processes import PROJECT

_SHOW = ["-m", "gunicorn", "-c", "couponsite/gunicorn_conf.py", "--print-config", "couponsite.wsgi"]


def told(files: int, **environ: str) -> dict[str, str]:
    done = subprocess.run(
        ["sh", "-c", f'ulimit -n {files} && exec "$@"', "sh", sys.executable, *_SHOW],
        cwd=PROJECT,
        env=os.environ | environ,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return dict(re.findall(r"^(\w+) += (.*)$", done.stdout, re.MULTILINE))


@pytest.mark.parametrize(
    ("files", "threads", "connections"),
    [(20_000, 4, 10_000), (1024, 4, 816), (1024, 256, 312), (100, 4, 10)],
)
def test_a_worker_has_no_more_connections_than_files(files: int, threads: int, connections: int) -> None:
    assert told(files, COUPON_API_THREADS=str(threads))["worker_connections"] == str(connections)


def test_a_worker_that_stops_has_time_for_the_longest_claim() -> None:
    usual = told(1024, COUPON_PUBLISH_TIMEOUT_MS="9000", COUPON_REDIS_TIMEOUT_MS="500")
    longest = told(1024, COUPON_PUBLISH_TIMEOUT_MS="9000", COUPON_REDIS_TIMEOUT_MS="10000")

    assert usual["graceful_timeout"] == "23"
    assert int(longest["graceful_timeout"]) < supervisor.API_GRACE_S


def test_figures_are_written_before_the_producer_waits_for_a_broker_that_is_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In the 2 s that a worker has whose connections were cut off; the producer may take 9 s."""
    done: list[object] = []
    producer = SimpleNamespace(close_event_producer=lambda: done.append("producer"))
    figures = SimpleNamespace(PATIENCE_S=5.0, stop=lambda *, patience_s: done.append(patience_s))
    monkeypatch.setitem(sys.modules, "coupons.eventlog.producer", producer)
    monkeypatch.setitem(sys.modules, "coupons.figures.flushing", figures)
    monkeypatch.delitem(sys.modules, "coupons.claims.tracing", raising=False)

    gunicorn_conf.worker_exit(None, SimpleNamespace(time_left_s=lambda: 2.0))
    gunicorn_conf.worker_exit(None, SimpleNamespace(time_left_s=lambda: 20.0))

    assert done == [1.0, "producer", 5.0, "producer"]


def test_the_master_loads_no_django() -> None:
    """A reload begins workers with new code; what the master has loaded before they inherit as it was."""
    code = "import sys, couponsite.gunicorn_conf, runtime.gunicorn_worker; print('django' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, env=os.environ, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == "False", done.stderr
