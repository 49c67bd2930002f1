"""The database that the API's connections lead to takes no writes any more: they are made anew."""

from __future__ import annotations

import pytest
from django.db import connection

from coupons import loop
from tests.stack import services

pytestmark = [pytest.mark.services_only, pytest.mark.django_db(transaction=True)]


def _connection_id() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT CONNECTION_ID()")
        [number] = cursor.fetchone()
    return int(number)


def test_a_connection_to_a_read_only_database_is_dropped_and_one_to_a_primary_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loop, "_LOOK_EVERY_S", 0.0)
    for name in ("_thread", "_pool", "_apart"):
        monkeypatch.setattr(loop, name, None)
    loop.start()
    try:
        kept = [loop.apart(_connection_id) for _ in range(3)]
        services("sql", "SET GLOBAL read_only = 1")
        demoted = [loop.apart(_connection_id) for _ in range(3)]
    finally:
        services("sql", "SET GLOBAL read_only = 0")
    promoted = [loop.apart(_connection_id) for _ in range(2)]
    loop.apart(lambda: connection.close())

    assert len(set(kept)) == 1
    assert len({kept[0], *demoted}) == 4
    assert len(set(promoted)) == 1
