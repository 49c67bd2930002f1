"""A Redis that took another's place, or that was restarted, may hold an older gate: it is loaded anew."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from uuid_utils.compat import uuid7

from coupons.claim import Claim
from coupons.coupon_cache import CachedCoupon
from coupons.gate.admission import (
    AdmissionGate,
    Admitted,
    Decisions,
    GateUnavailable,
    GateUnknown,
    Loaded,
    OutOfStock,
)
from runtime import redis_server
from runtime.config.redis import RedisKind, RedisSettings
from tests.own_redis import PLACES, Name, own_redis, redis_at
from tests.system import eventually

COUPON = CachedCoupon(
    coupon_id=7, epoch="1", stock=20, issued_count=0, is_opened=True, opens_at=None, closes_at=None
)


def claim(user_id: int, coupon_id: int = 7) -> Claim:
    return Claim(coupon_id=coupon_id, user_id=user_id, request_id=uuid7())


@pytest.fixture
def own_gate(monkeypatch: pytest.MonkeyPatch) -> AdmissionGate:
    """A gate as in a process that has just started; ``retry`` is at once."""
    monkeypatch.setattr("coupons.gate.redis_client.RETRY_REDIS_AFTER_S", 0.0)
    return AdmissionGate()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Redis]:
    with own_redis(tmp_path / "own") as port, redis_at(port, monkeypatch, *PLACES) as redis:
        yield redis


def follow(replica: int, master: int) -> None:
    Redis(port=master).config_set("repl-diskless-sync-delay", 0)
    Redis(port=replica).replicaof("127.0.0.1", str(master))
    eventually(lambda: Redis(port=replica).info("replication")["master_link_status"] == "up", within_s=30)


def admitted(gate: AdmissionGate) -> int:
    return gate.admit(COUPON, [claim(100 + n) for n in range(20)]).count(Admitted())


def test_a_promoted_replica_that_is_behind_withholds_no_slot(
    tmp_path: Path, own_gate: AdmissionGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    with own_redis(tmp_path / "old") as old, own_redis(tmp_path / "new") as new:
        name = Name(old)
        with redis_at(name.port, monkeypatch, *PLACES):
            follow(new, old)
            own_gate.load(COUPON, [])
            claims = [claim(n) for n in range(1, 18)]
            own_gate.admit(COUPON, claims)
            Redis(port=old).wait(1, 1000)
            Redis(port=new).replicaof("NO", "ONE")  # from here on it is behind
            own_gate.release(claims)
            name.target = new
            Redis(port=old).replicaof("127.0.0.1", str(new))

            assert Redis(port=new).hlen("{coupon:7}:reservations") == 17
            with pytest.raises(GateUnavailable):
                own_gate.admit(COUPON, [claim(100)])
            with pytest.raises(GateUnknown):
                own_gate.admit(COUPON, [claim(100)])
            assert own_gate.reserved(7) is None
            assert own_gate.standing(COUPON) == []
            own_gate.load(COUPON, claims[:2])  # the log's
            assert admitted(own_gate) == 18
            assert own_gate.standing(COUPON) == Loaded()
        name.close()


def test_a_sold_out_gate_on_a_replica_refuses_nobody(
    tmp_path: Path, own_gate: AdmissionGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would answer without a single write, and so without READONLY."""
    with own_redis(tmp_path / "old") as old, own_redis(tmp_path / "new") as new:
        name = Name(old)
        with redis_at(name.port, monkeypatch, *PLACES):
            own_gate.load(COUPON, [])
            assert admitted(own_gate) == 20
            assert own_gate.admit(COUPON, [claim(1)]) == [OutOfStock()]
            follow(new, old)
            Redis(port=new).replicaof("NO", "ONE")
            follow(old, new)
            name.target = new

            with pytest.raises(GateUnavailable, match="READONLY"):
                own_gate.admit(COUPON, [claim(1)])
            with pytest.raises(GateUnknown):  # the pool was left: this is the new master
                own_gate.admit(COUPON, [claim(1)])
        name.close()


def test_a_master_that_was_demoted_and_promoted_is_another_one_although_it_is_the_same_process(
    tmp_path: Path, server: Redis, own_gate: AdmissionGate
) -> None:
    with own_redis(tmp_path / "other") as other:
        own_gate.load(COUPON, [])
        own_gate.admit(COUPON, [claim(1)])
        port = server.connection_pool.connection_kwargs["port"]
        follow(other, port)
        Redis(port=other).replicaof("NO", "ONE")
        follow(port, other)
        server.replicaof("NO", "ONE")

        with pytest.raises(GateUnknown):
            own_gate.admit(COUPON, [claim(2)])


def test_a_restarted_redis_that_kept_its_data_is_another_one(
    tmp_path: Path, own_gate: AdmissionGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    with own_redis(tmp_path / "before") as port, redis_at(port, monkeypatch, *PLACES) as redis:
        own_gate.load(COUPON, [])
        own_gate.admit(COUPON, [claim(1)])
        kept = {key: redis.dump(key) or b"" for key in ("{coupon:7}:gate", "{coupon:7}:reservations")}
    with own_redis(tmp_path / "after") as port, redis_at(port, monkeypatch, *PLACES) as redis:
        again = AdmissionGate()
        for key, value in kept.items():
            redis.restore(key, 0, value)

        with pytest.raises(GateUnknown):
            again.admit(COUPON, [claim(2)])
        assert again.standing(COUPON) == []


def test_reservations_of_the_same_server_stand_while_their_gate_is_loaded_anew(
    server: Redis, own_gate: AdmissionGate
) -> None:
    first = claim(1)
    own_gate.load(COUPON, [])
    own_gate.admit(COUPON, [first])
    own_gate.unload(7)

    assert own_gate.standing(COUPON) == [first]


def test_a_gate_of_the_release_before_is_loaded_once_and_keeps_its_reservations(
    server: Redis, own_gate: AdmissionGate
) -> None:
    first = claim(1)
    own_gate.load(COUPON, [])
    own_gate.admit(COUPON, [first])
    server.hdel("{coupon:7}:gate", "history")

    with pytest.raises(GateUnknown):
        own_gate.admit(COUPON, [claim(2)])
    assert own_gate.standing(COUPON) == [first]
    own_gate.load(COUPON, [first])
    assert own_gate.admit(COUPON, [claim(2)]) == [Admitted()]


def test_a_user_who_may_not_ask_works_as_before_and_health_says_so(
    server: Redis, own_gate: AdmissionGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = server.connection_pool.connection_kwargs["port"]
    reached = RedisSettings(kind=RedisKind.STANDALONE, addresses=(("127.0.0.1", port),), timeout_s=1.0)
    assert "failovers" not in redis_server.details(server, reached)
    server.execute_command("ACL SETUSER few on nopass ~* +@all -info")
    few = Redis(port=port, username="few", password="any")
    monkeypatch.setattr("coupons.gate.redis_client.get_redis_connection", lambda alias: few)
    gate = AdmissionGate()
    gate.load(COUPON, [])

    assert admitted(gate) == 20
    assert gate.admit(COUPON, [claim(1)]) == [OutOfStock()]
    assert "+info" in redis_server.details(few, reached)["failovers"]
    few.close()


@pytest.mark.parametrize("coupon_ids", [[7], [7, 8, 9]])
def test_a_server_that_never_saw_our_scripts_is_sent_them(
    server: Redis, own_gate: AdmissionGate, coupon_ids: list[int]
) -> None:
    views = [
        CachedCoupon(
            coupon_id=coupon_id,
            epoch="1",
            stock=1,
            issued_count=0,
            is_opened=True,
            opens_at=None,
            closes_at=None,
        )
        for coupon_id in coupon_ids
    ]
    server.script_flush()
    own_gate.load_each([(view, []) for view in views])
    server.script_flush()
    claims = [claim(1, view.coupon_id) for view in views]

    told = own_gate.admit_each([(view, [each]) for view, each in zip(views, claims, strict=True)])
    server.script_flush()
    own_gate.notify([Decisions(coupon_id=each, epoch="1", issued_count=1, decided=[]) for each in coupon_ids])
    server.script_flush()

    assert told == [[Admitted()]] * len(views)
    assert own_gate.release(claims) == len(views)
