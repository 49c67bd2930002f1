"""Sleeps of less than a millisecond in a loop: what they let others do, and what they leave behind."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator

import gevent
import pytest

from runtime.short_sleep import ShortSleep


@pytest.fixture(params=[sys.platform, "darwin"])
def sleep(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[ShortSleep]:
    """Also as where there is no timerfd."""
    monkeypatch.setattr(sys, "platform", request.param)
    made = ShortSleep()
    yield made
    made.close()


def test_whoever_sleeps_for_less_time_wakes_first(sleep: ShortSleep) -> None:
    woken: list[str] = []

    def sleeper(name: str, seconds: float, doze: Callable[[float], None]) -> None:
        doze(seconds)
        woken.append(name)

    longer = gevent.spawn(sleeper, "longer", 0.2, sleep)
    shorter = gevent.spawn(sleeper, "shorter", 0.02, gevent.sleep)
    gevent.joinall([longer, shorter], timeout=10)

    assert woken == ["shorter", "longer"]


def test_it_may_be_used_again_and_again_for_any_time(sleep: ShortSleep) -> None:
    naps = gevent.spawn(lambda: list(map(sleep, (1e-9, 1e-6, 0.0005, 0.0015) * 25)))
    naps.join(10)
    assert len(naps.value) == 100


@pytest.mark.skipif(sys.platform != "linux", reason="timerfd is Linux's")
def test_many_fit_into_what_libev_waits_at_least() -> None:
    """Five hundred of libev's shortest sleeps would not fit into half a second."""
    naps = 0

    def nap() -> None:
        nonlocal naps
        while True:
            short(0.0001)
            naps += 1

    short = ShortSleep()
    napping = gevent.spawn(nap)
    gevent.sleep(0.5)
    napping.kill()
    short.close()
    assert naps > 500


def test_closed_it_leaves_no_descriptor() -> None:
    before = len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0
    for _ in range(50):
        sleep = ShortSleep()
        sleep(0.0001)
        sleep.close()
        sleep.close()
    assert not before or len(os.listdir("/proc/self/fd")) <= before + 1  # the loop's own, at its first use


def test_a_greenlet_that_is_killed_in_it_may_be_followed_by_another(sleep: ShortSleep) -> None:
    held = gevent.spawn(sleep, 60)
    gevent.sleep(0.01)
    held.kill()

    after = gevent.spawn(sleep, 0.001)
    after.join(10)
    assert after.successful()
