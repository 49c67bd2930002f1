"""A consumer's health looks at progress: whatever keeps it from deciding what is there, it says so."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from django.conf import settings

from consumer.health import actuator_of
from consumer.state import LoopState
from runtime.actuator import Component


def consumer(state: LoopState) -> Component:
    return actuator_of(state, lambda: Component(is_up=True)).checks["consumer"].start().result(5)


def joined() -> LoopState:
    return LoopState(has_joined=True, partitions=(0, 1))


def test_a_consumer_with_nothing_to_decide_is_up_for_ever() -> None:
    assert consumer(joined()) == Component(is_up=True, details={"partitions": [0, 1]})


@pytest.mark.parametrize(("limit_s", "is_up"), [(60, True), (5, False)])
def test_what_waits_undecided_for_too_long_is_down_with_the_cause(
    limit_s: int, is_up: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = replace(settings.CONFIG.consumer, stalled_after_s=limit_s)
    monkeypatch.setattr(settings, "CONFIG", replace(settings.CONFIG, consumer=short))
    state = joined()
    state.waiting_since = state.retrying_since = time.monotonic() - 10
    state.retry_cause = "OperationalError"

    found = consumer(state)

    assert found.is_up is is_up
    assert found.details["undecidedSeconds"] >= 10
    assert found.details["cause"] == "OperationalError"


def test_what_waits_without_any_error_is_down_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that gives nothing, positions that go back and forth: nothing is retried, nothing decided."""
    state = joined()
    state.waiting_since = time.monotonic() - 61

    assert consumer(state).is_up is False


def test_a_pause_that_somebody_wants_is_told_and_is_not_down() -> None:
    state = joined()
    state.deferring = {7: "paused by kim since 2026-11-27T12:00:00+09:00: 900 events wait"}

    found = consumer(state)

    assert found.is_up is True
    assert found.details["deferring"] == {"7": state.deferring[7]}


@pytest.mark.parametrize(("for_s", "is_up"), [(10, True), (61, False)])
def test_resumed_events_that_cannot_be_decided_are_down_after_a_while(for_s: float, is_up: bool) -> None:
    state = joined()
    state.cannot_resume("OperationalError")
    state.resume_fails_since = time.monotonic() - for_s

    found = consumer(state)

    assert found.is_up is is_up
    assert found.details["resumeFailure"] == "OperationalError"
    assert state.retrying_s() >= for_s
    state.resumes()
    assert consumer(state) == Component(is_up=True, details={"partitions": [0, 1]})


def test_a_partition_that_stands_still_is_named() -> None:
    state = joined()
    state.stuck = {1: "partition 1 stands still: events were deleted"}

    found = consumer(state)

    assert found.is_up is False
    assert found.details["stuck"] == {"1": "partition 1 stands still: events were deleted"}


def test_a_loop_that_does_not_turn_is_down() -> None:
    state = joined()
    state.turned_at = time.monotonic() - 61

    assert consumer(state).is_up is False
