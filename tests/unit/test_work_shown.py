"""A bar that stands still is all that a failing Redis costs whoever imports."""

from __future__ import annotations

import pytest
from redis import Redis

from coupons.gate import work_shown
from coupons.gate.admission import gate
from coupons.gate.work_shown import WorkDone

WORK = WorkDone(stage="CHECK", done=1, whole=2)


@pytest.fixture(autouse=True)
def no_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    away = Redis(host="127.0.0.1", port=1)
    monkeypatch.setattr(work_shown, "get_redis_connection", lambda name: away)
    gate.forget_failure()


def test_a_bar_does_not_turn_claims_away_from_the_gate() -> None:
    work_shown.tell("import", WORK)
    assert work_shown.ask("import") is None

    assert not gate.is_away


def test_while_the_gate_is_away_redis_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(work_shown, "get_redis_connection", asked.append)
    monkeypatch.setattr(type(gate), "is_away", property(lambda gate: True))

    work_shown.tell("import", WORK)
    assert work_shown.ask("import") is None

    assert asked == []
