"""Whether the database is away is asked apart, so that no claim waits for that answer."""

from __future__ import annotations

import pytest
from django.db import InterfaceError, OperationalError

from dev.processes import wait_until
from runtime import database_watch
from runtime.database_watch import DatabaseAwayError, DatabaseWatch


class Answers:
    """What the database says, one after the other; the last one again and again."""

    def __init__(self, *told: Exception | None) -> None:
        self._told = list(told)
        self.asked = 0

    def __call__(self) -> None:
        self.asked += 1
        answer = self._told.pop(0) if len(self._told) > 1 else self._told[0]
        if answer is not None:
            raise answer


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_watch, "ASK_EVERY_S", 0.01)


AWAY = OperationalError(2003, "Can't connect to server")


def test_it_is_away_until_it_answers() -> None:
    database = Answers(AWAY, OperationalError(2013, "Lost connection"), AWAY, AWAY, None)
    watch = DatabaseWatch(database)
    watch.refuse_if_away()

    watch.suspect()
    assert wait_until(lambda: watch.is_away, within_s=10, every_s=0.001)
    with pytest.raises(DatabaseAwayError):
        watch.refuse_if_away()

    assert wait_until(lambda: not watch.is_away, within_s=10)
    assert database.asked == 5


def test_it_is_suspected_again_after_it_was_back() -> None:
    database = Answers(None)
    watch = DatabaseWatch(database)

    def was_asked_three_times() -> bool:
        watch.suspect()
        return database.asked >= 3

    assert wait_until(was_asked_three_times, within_s=10)


@pytest.mark.parametrize(
    "answer",
    [
        OperationalError(1040, "Too many connections"),
        OperationalError(2026, "TLS/SSL error: certificate has expired"),
        OperationalError(1290, "running with the --read-only option"),
        InterfaceError(0, ""),
        OperationalError("database is locked"),
    ],
)
def test_a_database_that_says_something_itself_is_not_away(answer: Exception) -> None:
    database = Answers(answer)
    watch = DatabaseWatch(database)

    watch.suspect()

    assert wait_until(lambda: database.asked == 1 and not watch.is_asking, within_s=10)
    assert not watch.is_away
