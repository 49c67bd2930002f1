"""A Redis that was demoted, and one that is full: on real servers, with the limits that are in production."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from django.conf import settings
from django_redis import get_redis_connection
from redis import Redis
from redis.exceptions import (
    BusyLoadingError,
    ConnectionError,
    MasterDownError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from uuid_utils.compat import uuid7

from coupons.claim import Claim
from coupons.coupon_cache import CachedCoupon
from coupons.eventlog.events import CouponIssueEvent
from coupons.eventlog.place import Place
from coupons.gate import pending
from coupons.gate.admission import (
    AdmissionGate,
    Admitted,
    Decisions,
    GateUnavailable,
    gate,
)
from coupons.issuing import locks
from runtime import redis_clients
from runtime.redis_roles import leave_if_demoted
from tests.own_redis import PLACES, Name, own_redis, redis_at
from tests.system import eventually

COUPON = CachedCoupon(
    coupon_id=7, epoch="1", stock=10_000, issued_count=0, is_opened=True, opens_at=None, closes_at=None
)


def claim(user_id: int) -> Claim:
    return Claim(coupon_id=7, user_id=user_id, request_id=uuid7())


@pytest.fixture
def own_gate(monkeypatch: pytest.MonkeyPatch) -> AdmissionGate:
    """A gate as in a process that has just started; ``retry`` is at once."""
    monkeypatch.setattr("coupons.gate.redis_client.RETRY_REDIS_AFTER_S", 0.0)
    return AdmissionGate()


def test_a_demoted_redis_is_left_by_all_who_write(
    tmp_path: Path, own_gate: AdmissionGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    with own_redis(tmp_path / "old") as old, own_redis(tmp_path / "new") as new:
        name = Name(old)
        with redis_at(name.port, monkeypatch, *PLACES):
            monkeypatch.setattr(pending, "gate", own_gate)
            first, second = claim(1), claim(2)
            own_gate.load(COUPON, [])
            own_gate.admit(COUPON, [first])
            tracked = (CouponIssueEvent.of(first, timestamp_ms=1), Place(0, 1))
            pending.note([tracked])
            with locks.coupon_locks([7]):
                pass

            Redis(port=old).replicaof("127.0.0.1", str(new))
            eventually(lambda: Redis(port=old).info("replication")["master_link_status"] == "up")
            name.target = new

            with pytest.raises(GateUnavailable):
                own_gate.load(COUPON, [])  # the new master knows nothing of it
            own_gate.load(COUPON, [])
            assert own_gate.admit(COUPON, [second]) == [Admitted()]
            with locks.coupon_locks([7]):  # not taken, and lets the pool go
                pass
            with locks.coupon_locks([7]):
                assert Redis(port=new).exists("lock:{coupon:7}")
            pending.note([tracked])
            assert pending.find(first.request_id) is not None
        name.close()
        assert Redis(port=new).exists("{coupon:7}:reservations")


@pytest.mark.parametrize("forgotten", ["note", "settle"])
def test_tracking_alone_leaves_a_demoted_redis(
    tmp_path: Path, own_gate: AdmissionGate, monkeypatch: pytest.MonkeyPatch, forgotten: str
) -> None:
    with own_redis(tmp_path / "old") as old, own_redis(tmp_path / "new") as new:
        name = Name(old)
        with redis_at(name.port, monkeypatch, *PLACES) as redis:
            redis.ping()
            Redis(port=old).replicaof("127.0.0.1", str(new))
            eventually(lambda: Redis(port=old).info("replication")["master_link_status"] == "up")
            name.target = new

            def write() -> None:
                if forgotten == "note":
                    pending.note([(CouponIssueEvent.of(claim(1), timestamp_ms=1), Place(0, 1))])
                else:
                    pending.forget([], {0: 1.0})

            with suppress(RedisError):
                write()
            write()
        name.close()
        assert Redis(port=new).dbsize() == 1


@pytest.mark.parametrize(
    ("error", "is_left"),
    [
        (ReadOnlyError("You can't write against a read only replica."), True),
        (ResponseError("user_script:8: READONLY a replica answers script: 3f0c"), True),
        (MasterDownError("Link with MASTER is down and replica-serve-stale-data is set to 'no'."), True),
        (ResponseError("NOREPLICAS Not enough good replicas to write."), True),
        (ResponseError("UNBLOCKED force unblock from blocking operation, instance state changed"), True),
        (BusyLoadingError("Redis is loading the dataset in memory"), True),
        (ConnectionError("The previous master is now a slave"), True),
        (ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value"), False),
        (NoScriptError("No matching script."), False),
    ],
)
def test_each_sign_of_a_server_that_is_no_master_empties_the_pool(error: RedisError, is_left: bool) -> None:
    client = redis_clients.make(settings.CONFIG.redis, name="test", timeout_s=1.0)
    before = client.client_id()

    leave_if_demoted(client, error)

    assert (client.client_id() != before) is is_left
    client.close()


def test_a_replica_without_its_master_is_left(
    tmp_path: Path, own_gate: AdmissionGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    with own_redis(tmp_path / "old") as old, own_redis(tmp_path / "new") as new:
        name = Name(old)
        with redis_at(name.port, monkeypatch, *PLACES):
            own_gate.load(COUPON, [])
            Redis(port=old).config_set("replica-serve-stale-data", "no")
            Redis(port=old).replicaof("127.0.0.1", "1")
            name.target = new

            with pytest.raises(GateUnavailable, match="MASTER"):
                own_gate.admit(COUPON, [claim(1)])
            own_gate.load(COUPON, [])
            assert own_gate.admit(COUPON, [claim(1)]) == [Admitted()]
        name.close()


def _fill(redis: Redis) -> None:
    """Until it takes no more."""
    redis.config_set("maxmemory", redis.info("memory")["used_memory"] + 1_000_000)
    with suppress(OutOfMemoryError):
        for n in range(1000):
            redis.set(f"filler:{n}", "x" * 10_000)
    redis.config_set("maxmemory", redis.info("memory")["used_memory"] - 100_000)


def test_a_full_redis_frees_what_is_decided_and_is_told_as_failing(
    tmp_path: Path, own_gate: AdmissionGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    with own_redis(tmp_path / "own") as port, redis_at(port, monkeypatch, *PLACES) as redis:
        claims = [claim(user) for user in range(1, 101)]
        own_gate.load(COUPON, [])
        own_gate.admit(COUPON, claims)
        pending.note([(CouponIssueEvent.of(each, timestamp_ms=1), Place(0, 1)) for each in claims])
        _fill(redis)

        with pytest.raises(GateUnavailable):
            own_gate.admit(COUPON, [claim(1000)])
        assert own_gate.release(claims[90:]) == 10
        decided = [(each, n < 30) for n, each in enumerate(claims[:90])]
        own_gate.notify([Decisions(coupon_id=7, epoch="1", issued_count=30, decided=decided)])
        own_gate.notify([Decisions(coupon_id=7, epoch="1", issued_count=31, decided=[])])
        with suppress(RedisError):
            pending.forget([each.request_id for each in claims], {0: 1.0})

        assert own_gate.reserved(7) == 0
        assert own_gate.issued_counts() == {7: 31}
        assert not list(redis.scan_iter("coupon-requests:*"))
        redis.config_set("maxmemory", 0)
        sold_out = replace(COUPON, stock=0, issued_count=31)
        assert own_gate.admit(replace(sold_out, stock=1), [claim(1000)]) == [Admitted()]


def test_a_full_redis_loses_nothing_to_a_loading_that_it_refuses(
    tmp_path: Path, own_gate: AdmissionGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    with own_redis(tmp_path / "own") as port, redis_at(port, monkeypatch, *PLACES) as redis:
        standing = claim(1)
        own_gate.load(COUPON, [])
        own_gate.admit(COUPON, [standing])
        own_gate.unload(7)
        _fill(redis)

        for under_way in ([], [claim(2)]):
            with pytest.raises(GateUnavailable):
                own_gate.load(COUPON, under_way)

        assert own_gate.reservations(limit=10) == [standing]


def test_an_error_of_one_key_does_not_put_redis_away() -> None:
    get_redis_connection("default").set("one-key", "x")
    with pytest.raises(GateUnavailable):
        gate.guarded(lambda: get_redis_connection("default").hget("one-key", "field"))

    assert not gate.is_away
