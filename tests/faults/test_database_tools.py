"""What the fault suite does to a database: dumped and restored, followed by a replica, killed and started."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connection

from coupons.models import Coupon
from dev.services.own import Services
from tests.factories import make_coupon
from tests.stack import own_services

pytestmark = [pytest.mark.services_only, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def services() -> Services:
    return own_services()


@pytest.fixture
def replica(services: Services, transactional_db: None) -> Iterator[Services]:
    """The database is restarted for it: this process connects anew."""
    services.start_replica()
    connection.close()
    yield services
    services.stop_replica()
    connection.close()


def stock_at_the_replica(services: Services, coupon: Coupon) -> list[str]:
    database = connection.settings_dict["NAME"]
    told = services.sql(f"SELECT stock FROM {database}.coupon WHERE coupon_id = {coupon.pk}", on="replica")
    return told.split()[1:]


def test_a_restored_database_is_as_it_was_when_it_was_dumped(services: Services, tmp_path: Path) -> None:
    coupon = make_coupon(stock=7)
    services.dump(tmp_path / "dump.sql")
    Coupon.objects.filter(pk=coupon.pk).update(stock=3)
    later = make_coupon()
    connection.close()

    services.restore(tmp_path / "dump.sql")

    assert list(Coupon.objects.values_list("pk", "stock")) == [(coupon.pk, 7)]
    assert not Coupon.objects.filter(pk=later.pk).exists()
    assert [path.name for path in tmp_path.iterdir()] == ["dump.sql"]


def test_a_replica_follows_lags_and_takes_over(replica: Services) -> None:
    before = make_coupon(stock=1)
    replica.run("follow")
    assert stock_at_the_replica(replica, before) == ["1"]

    replica.run("lag")
    lost = make_coupon(stock=2)
    replica.do("kill", "db")
    connection.close()
    replica.run("promote")

    assert stock_at_the_replica(replica, before) == ["1"]
    assert stock_at_the_replica(replica, lost) == []
    database = connection.settings_dict["NAME"]
    replica.sql(f"UPDATE {database}.coupon SET stock = 9 WHERE coupon_id = {before.pk}", on="replica")
    assert stock_at_the_replica(replica, before) == ["9"]


def test_a_database_that_was_killed_starts_again_at_once(services: Services) -> None:
    """Nobody may have reaped it: its pid is then still there, and a lock with that pid no obstacle."""
    for _ in range(2):
        services.do("kill", "db")
        services.do("start", "db")
    connection.close()
    make_coupon()
