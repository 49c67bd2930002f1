"""The loop of a worker: what it cannot do without, and how long a computing thread keeps it waiting."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from dev.processes import PROJECT

_WORKER = """
import os, signal, sys, time
os.environ["DJANGO_SETTINGS_MODULE"] = "couponsite.settings"
import django
django.setup()
import gevent
from runtime import for_life, greenlets
asked = []
signal.signal(signal.SIGTERM, lambda number, frame: asked.append(number))
def fail():
    raise ZeroDivisionError("a bug")
greenlets.start()
for_life.spawn(fail)
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


_BESIDE_A_THREAD_THAT_COMPUTES = """
import os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "couponsite.settings"
import django
django.setup()
from couponsite.doors import Doors
from runtime import greenlets
Doors(lambda environ, start_response: []).enter_loop()
print(sys.getswitchinterval(), greenlets.apart(sys.getswitchinterval), sys.getswitchinterval())
"""


def test_a_thread_that_computes_lets_the_loop_go_on() -> None:
    """Whatever thread it is: Python's own interval is 5 ms, each time that the loop wants to go on."""
    done = subprocess.run(
        [sys.executable, "-c", _BESIDE_A_THREAD_THAT_COMPUTES],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert [float(each) for each in done.stdout.split()] == pytest.approx([0.0005] * 3), done.stderr


_CATCHES_WHAT_A_THREAD_RAISES = """
import os
os.environ["DJANGO_SETTINGS_MODULE"] = "couponsite.settings"
import django
django.setup()
from coupons.claims import lookup_threads
from runtime import database_roles, greenlets
database_roles.look = lambda: None
def fail():
    raise ZeroDivisionError("as when the database is away")
greenlets.start()
lookup_threads.start()
for ask in (greenlets.in_thread, greenlets.apart, lookup_threads.in_thread):
    try:
        ask(fail)
    except ZeroDivisionError as error:
        print(error)
"""


def test_what_a_thread_raises_is_the_callers_alone() -> None:
    """gevent prints each trace in the loop besides: a flood, while a dependency is away."""
    done = subprocess.run(
        [sys.executable, "-c", _CATCHES_WHAT_A_THREAD_RAISES],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.stdout.splitlines() == ["as when the database is away"] * 3, done.stderr
    assert "ZeroDivisionError" not in done.stderr
