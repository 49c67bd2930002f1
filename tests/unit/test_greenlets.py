"""A greenlet that a worker cannot do without: its end is the worker's, loud and in order."""

from __future__ import annotations

import signal
import subprocess
import sys

from deploy.services.own import PROJECT

_WORKER = """
import os, signal, sys, time
os.environ["DJANGO_SETTINGS_MODULE"] = "couponsite.settings"
import django
django.setup()
import gevent
from coupons import loop
asked = []
signal.signal(signal.SIGTERM, lambda number, frame: asked.append(number))
def fail():
    raise ZeroDivisionError("a bug")
loop.start()
loop.spawn_for_life(fail)
until = time.monotonic() + 20
while not asked and time.monotonic() < until:
    gevent.sleep(0.01)
print(asked)
"""


def test_its_bug_stops_the_worker_as_when_it_is_asked_to() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _WORKER], cwd=PROJECT, capture_output=True, text=True, timeout=60
    )

    assert done.stdout.strip() == f"[{int(signal.SIGTERM)}]", done.stderr
    assert "this worker cannot go on" in done.stderr
    assert "ZeroDivisionError" in done.stderr
