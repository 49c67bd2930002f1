"""The database that our connections lead to takes no writes any more: they are made anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.core.signals import request_started
from django.db import OperationalError, connection
from uuid_utils.compat import uuid7

from consumer.ground_watch import GroundWatch
from consumer.partitions import AssignedPartitions
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


_page_thread = ThreadPoolExecutor(1)


def _pages() -> int:
    def page() -> int:
        request_started.send(None)
        return _connection_id()

    return _page_thread.submit(page).result()


def _ground() -> int:
    """The connection that a consumer's loop looks at the positions by."""
    read: list[int] = []

    class Assigned(AssignedPartitions):
        def look_again(self) -> bool:
            read.append(_connection_id())
            return False

    assert not GroundWatch().is_as_before(Assigned("topic"))
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
    _page_thread.submit(lambda: connection.close()).result()
    lookup_threads.stop()
    greenlets.stop()


@pytest.mark.usefixtures("one_thread_each")
@pytest.mark.parametrize("ask", [_claims, _loading, _lookups, _undecided, _pages, _ground])
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


def _write() -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE coupon SET stock = stock")


def _be_killed() -> None:
    services("sql", f"KILL {_connection_id()}")
    _connection_id()


@pytest.mark.usefixtures("one_thread_each")
@pytest.mark.parametrize("meet", [_write, _be_killed])
def test_a_sign_that_one_thread_meets_makes_the_others_look_at_once(
    meet: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    others = (_loading, _lookups, _pages)
    before = [ask() for ask in others]
    monkeypatch.setattr(database_roles, "LOOK_EVERY_S", 1e9)
    kept = [ask() for ask in others]
    try:
        services("sql", "SET GLOBAL read_only = 1")
        unseen = [ask() for ask in others]
        with pytest.raises(OperationalError):
            greenlets.in_thread(meet)
        left = [ask() for ask in others]
    finally:
        services("sql", "SET GLOBAL read_only = 0")

    assert before == kept == unseen
    assert not {*left} & {*kept}
