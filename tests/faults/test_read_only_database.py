"""The database that the API's connections lead to takes no writes any more: they are made anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from django.db import connection
from uuid_utils.compat import uuid7

from coupons.claims import lookup_threads, undecided
from coupons.eventlog import backlog
from coupons.eventlog.backlog import Positions
from runtime import database_roles, greenlets
from tests.stack import services

pytestmark = [pytest.mark.services_only, pytest.mark.django_db(transaction=True)]


def _connection_id() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT CONNECTION_ID()")
        [number] = cursor.fetchone()
    return int(number)


def _claims() -> int:
    return greenlets.in_thread(_connection_id)


def _loading() -> int:
    return greenlets.apart(_connection_id)


def _lookups() -> int:
    return lookup_threads.in_thread(_connection_id)


def _undecided() -> int:
    """The connection that the thread of the undecided events reads the positions by."""
    read: list[int] = []

    def positions(*, timeout_s: float) -> dict[int, Positions]:
        read.append(_connection_id())
        return {}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backlog, "positions", positions)
        assert undecided.index.find(uuid7()) is None
    return read[-1]


@pytest.fixture
def one_thread_each(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A loop whose pools have one thread each, and so one connection."""
    monkeypatch.setattr(database_roles, "LOOK_EVERY_S", 0.0)
    monkeypatch.setattr(greenlets, "THREADS", 1)
    monkeypatch.setattr(lookup_threads, "THREADS", 1)
    monkeypatch.setattr(undecided, "index", undecided.UndecidedIndex())
    monkeypatch.setattr(undecided, "FORGOTTEN_AFTER_S", 1.0)
    greenlets.start()
    lookup_threads.start()
    yield
    for in_thread in (greenlets.in_thread, greenlets.apart, lookup_threads.in_thread):
        in_thread(lambda: connection.close())
    lookup_threads.stop()
    greenlets.stop()


@pytest.mark.usefixtures("one_thread_each")
@pytest.mark.parametrize("ask", [_claims, _loading, _lookups, _undecided])
def test_a_connection_to_a_read_only_database_is_dropped_and_one_to_a_primary_is_kept(
    ask: Callable[[], int],
) -> None:
    try:
        kept = [ask() for _ in range(3)]
        services("sql", "SET GLOBAL read_only = 1")
        demoted = [ask() for _ in range(3)]
    finally:
        services("sql", "SET GLOBAL read_only = 0")
    promoted = [ask() for _ in range(2)]

    assert len(set(kept)) == 1
    assert len({kept[0], *demoted}) == 4
    assert len(set(promoted)) == 1
