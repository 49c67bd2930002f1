"""A transaction runs beside the loop's work, and both have ended when the caller goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest
from django.db import DataError, OperationalError

from consumer.database_thread import DatabaseThread, in_turn

_PATIENCE_S = 10


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The threads that closed their connection."""
    names: list[str] = []
    monkeypatch.setattr("consumer.database_thread.close_old_connections", lambda: None)
    closing = SimpleNamespace(close=lambda: names.append(threading.current_thread().name))
    monkeypatch.setattr("consumer.database_thread.connection", closing)
    return names


@pytest.fixture
def database(closed: list[str]) -> Iterator[DatabaseThread]:
    with DatabaseThread() as thread:
        yield thread


def done(result: object) -> None:
    """For a function that must return nothing."""


def raising(error: Exception) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


def test_both_are_under_way_at_once(database: DatabaseThread) -> None:
    both = threading.Barrier(2, timeout=_PATIENCE_S)

    def decide() -> str:
        both.wait()
        return threading.current_thread().name

    assert database.run(decide, lambda: done(both.wait())).startswith("database")


def test_an_error_of_the_transaction_is_raised_once_the_other_work_is_done(database: DatabaseThread) -> None:
    done: list[str] = []

    with pytest.raises(DataError):
        database.run(raising(DataError(1406, "too long")), lambda: done.append("meanwhile"))

    assert done == ["meanwhile"]


@pytest.mark.parametrize("run", ["in a thread", "in turn"])
def test_an_error_of_the_other_work_is_raised(database: DatabaseThread, run: str) -> None:
    running = database.run if run == "in a thread" else in_turn
    with pytest.raises(ZeroDivisionError):
        running(lambda: None, raising(ZeroDivisionError()))


def test_an_error_of_the_other_work_waits_for_the_transaction(database: DatabaseThread) -> None:
    """Otherwise the process would end, or begin another transaction, in the middle of this one."""
    failing = threading.Event()
    ended: list[str] = []

    def decide() -> None:
        assert failing.wait(_PATIENCE_S)
        ended.append("transaction")

    def fail() -> None:
        failing.set()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        database.run(decide, fail)

    assert ended == ["transaction"]


@pytest.mark.parametrize(
    ("error", "closes"),
    [
        (OperationalError(2013, "Lost connection"), True),
        (OperationalError(1290, "read-only"), True),
        (DataError(1406, "too long"), False),
    ],
    ids=str,
)
def test_a_connection_that_failed_is_closed_where_it_is(
    database: DatabaseThread, closed: list[str], error: Exception, closes: bool
) -> None:
    with pytest.raises(type(error)):
        database.run(raising(error), lambda: None)

    assert [name.startswith("database") for name in closed] == [True] * closes


def test_its_connection_is_closed_at_the_end(closed: list[str]) -> None:
    with DatabaseThread() as thread:
        thread.run(lambda: None, lambda: None)
        assert closed == []

    assert [name.startswith("database") for name in closed] == [True]
