"""Shares of the connections: who is ahead, and who does not count."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from runtime.http import shares
from runtime.http.shares import Share, Shares


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    made = SimpleNamespace(now=1000.0)
    made.monotonic_ns = lambda: int(made.now * 1e9)
    monkeypatch.setattr(shares, "time", made)
    return made


@pytest.fixture
def some(clock: SimpleNamespace) -> list[Share]:
    made = Shares()
    found = [made.of(number) for number in (7, 8, 512 + 9)]
    for _ in range(2):
        for share in found:
            share.show(0)
    return found


def test_whoever_has_far_more_than_the_fewest_is_ahead(some: list[Share]) -> None:
    first, second, third = some
    second.count(1000)
    third.count(80)
    assert not first.is_ahead(93)
    assert first.is_ahead(94)

    third.count(0)
    assert not first.is_ahead(3)
    assert first.is_ahead(4)


def test_nobody_is_ahead_alone() -> None:
    alone = Shares().of(3)
    alone.show(1000)
    assert not alone.is_ahead(1000)


def test_whoever_left_or_stands_still_does_not_count(some: list[Share], clock: SimpleNamespace) -> None:
    first, second, third = some
    assert first.is_ahead(100)
    second.leave()
    first.show(100)
    assert first.is_ahead(100), "the third one takes some"

    clock.now += 0.6
    second.leave()
    clock.now += 0.6
    first.show(100)
    assert not first.is_ahead(100), "nobody has shown himself for more than a second"

    third.show(0)
    first.show(100)
    assert first.is_ahead(100)
