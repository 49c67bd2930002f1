"""The client of a cluster fails and recovers as a client of one server does."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence

import pytest
from redis import Redis
from redis.client import Pipeline
from redis.exceptions import RedisError, ResponseError
from uuid_utils.compat import uuid7

from coupons.claim import Claim
from coupons.coupon_cache import CachedCoupon
from coupons.gate.admission import (
    AdmissionGate,
    Admitted,
    GateUnavailable,
    GateUnknown,
    Loaded,
)
from coupons.gate.keys import keys_of
from dev.clusters.redis import PASSWORD, SLOTS, USER, Server
from dev.clusters.redis_nodes import RedisNodes
from dev.processes import LOOPBACK
from runtime import redis_clients
from runtime.config.redis import RedisKind, RedisSettings
from runtime.redis_cluster import ClusterRedis
from tests.system import eventually

KEYS = [f"{{coupon:{number}}}:gate" for number in range(30)]  #: on all of three nodes


def client_of(nodes: Sequence[Server], *, timeout_s: float = 1.0) -> Redis:
    reached = RedisSettings(
        kind=RedisKind.CLUSTER,
        addresses=tuple((LOOPBACK, node.port) for node in nodes),
        timeout_s=timeout_s,
        username=USER,
        password=PASSWORD,
        is_encrypted=True,
        ssl_ca=str(nodes[0].certificates.ca),
    )
    return redis_clients.make(reached, name="test", timeout_s=timeout_s)


@pytest.fixture
def client(redis_nodes: Sequence[Server]) -> Iterator[Redis]:
    made = client_of(redis_nodes)
    yield made
    made.close()


def of_all(client: Redis) -> Pipeline:
    pipeline = client.pipeline(transaction=False)
    for key in KEYS:
        pipeline.hset(key, "n", "1")
        pipeline.hget(key, "n")
    return pipeline


def test_a_pipeline_answers_in_order_whichever_nodes_it_asks(client: Redis) -> None:
    script = client.register_script("return {KEYS[1], ARGV[1]}")
    pipeline = client.pipeline(transaction=False)
    for number, key in enumerate(KEYS):
        script(keys=[key], args=[number], client=pipeline)

    assert pipeline.execute() == [[key.encode(), str(n).encode()] for n, key in enumerate(KEYS)]
    assert len(pipeline) == 0


def test_an_error_of_one_command_is_its_answer(client: Redis) -> None:
    client.set(KEYS[3], "no hash")
    pipeline = of_all(client)
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        pipeline.execute()

    answers = of_all(client).execute(raise_on_error=False)
    client.delete(KEYS[3])
    assert [isinstance(each, ResponseError) for each in answers] == [place in (6, 7) for place in range(60)]


def test_a_node_that_is_lost_and_comes_back(redis_nodes: Sequence[Server], client: Redis) -> None:
    of_all(client).execute()
    lost = redis_nodes[1]
    lost.process.signal(signal.SIGKILL)
    lost.process.wait(within_s=10)
    for _ in range(3):
        with pytest.raises(RedisError):
            of_all(client).execute()
        with pytest.raises(RedisError):
            [client.hget(key, "n") for key in KEYS]

    lost.process.start()

    def is_back() -> bool:
        try:
            return len(of_all(client).execute()) == 2 * len(KEYS)
        except RedisError:
            return False

    eventually(is_back, within_s=30)


def test_a_cluster_that_is_away_is_an_error_of_redis_at_the_first_call(redis_nodes: Sequence[Server]) -> None:
    with redis_nodes[0].process.paused(), redis_nodes[1].process.paused(), redis_nodes[2].process.paused():
        client = client_of(redis_nodes, timeout_s=0.2)
        with pytest.raises(RedisError):
            client.hget(KEYS[0], "n")
        with pytest.raises(RedisError):
            of_all(client).execute()
        with pytest.raises(RedisError):
            list(client.scan_iter())
    assert client.hset(KEYS[0], "n", "1") in (0, 1)
    client.close()


def test_a_slot_that_moved_is_followed(redis_nodes: Sequence[Server], client: Redis) -> None:
    """The client learns of it from the old node's answer, MOVED, to a command that it did not run."""
    of_all(client).execute()
    first, second = redis_nodes[0].client(), redis_nodes[1].client()
    slot = next(
        slot for key in KEYS if (slot := int(first.execute_command("CLUSTER KEYSLOT", key))) < SLOTS // 3
    )
    for key in KEYS:
        client.delete(key)
    other = second.execute_command("CLUSTER MYID").decode()
    for node in (second, first, redis_nodes[2].client()):
        node.execute_command("CLUSTER SETSLOT", slot, "NODE", other)

    answers = of_all(client).execute()

    assert answers[1::2] == [b"1"] * len(KEYS)
    held = second.execute_command("CLUSTER COUNTKEYSINSLOT", slot)
    assert held >= 1


def test_a_slot_that_nobody_is_known_to_have_is_asked_for(client: Redis) -> None:
    """redis-py asks on a node's answer alone, and no node is asked for such a slot (its issue 3620)."""
    of_all(client).execute()
    assert isinstance(client, ClusterRedis)
    for fails in (lambda: of_all(client).execute(), lambda: client.hget(KEYS[0], "n")):
        client.nodes.nodes_manager.slots_cache.clear()
        with pytest.raises(RedisError):
            fails()
        fails()


@pytest.fixture
def gate(client: Redis, monkeypatch: pytest.MonkeyPatch) -> AdmissionGate:
    monkeypatch.setattr("coupons.gate.redis_client.get_redis_connection", lambda alias: client)
    return AdmissionGate()


def coupon(coupon_id: int) -> CachedCoupon:
    return CachedCoupon(
        coupon_id=coupon_id,
        epoch="1",
        stock=10,
        issued_count=0,
        is_opened=True,
        opens_at=None,
        closes_at=None,
    )


def claimed(coupon_id: int, user_id: int) -> tuple[CachedCoupon, list[Claim]]:
    return coupon(coupon_id), [Claim(coupon_id=coupon_id, user_id=user_id, request_id=uuid7())]


def test_while_its_slot_moves_a_gate_is_unknown_and_the_others_are_asked(
    redis_nodes: Sequence[Server], gate: AdmissionGate
) -> None:
    """With all of its keys here, with some of them there, and with all of them there: TRYAGAIN and ASK."""
    nodes = RedisNodes(redis_nodes)
    nodes.flush()
    moving = keys_of(1)[0]
    staying = next(n for n in range(2, 50) if nodes.owner(keys_of(n)[0]) is not nodes.owner(moving))
    gate.load_each([(coupon(1), []), (coupon(staying), [])])
    gate.admit_each([claimed(1, 1), claimed(staying, 1)])
    users = iter(range(2, 9))
    seen = []

    def ask() -> None:
        user = next(users)
        here, there = gate.admit_each([claimed(1, user), claimed(staying, user)])
        seen.append(isinstance(here, GateUnknown))
        assert there == [Admitted()]
        assert not gate.is_away
        assert isinstance(gate.standing(coupon(1)), Loaded)  # nothing can be loaded now
        assert gate.load(coupon(1), []) is False

    nodes.move(moving, at_each_step=ask)

    assert seen == [True, True, True]
    [again] = gate.admit_each([claimed(1, 20)])
    assert isinstance(again, GateUnknown)  # it is another server's
    assert gate.load(coupon(1), []) is True
    assert gate.admit_each([claimed(1, 21)]) == [[Admitted()]]


def test_a_script_that_its_node_does_not_know_needs_no_other_node(
    redis_nodes: Sequence[Server], client: Redis, gate: AdmissionGate
) -> None:
    nodes = RedisNodes(redis_nodes)
    gate.load(coupon(1), [])
    owner = nodes.owner(keys_of(1)[0])
    other = next(node for node in redis_nodes if node is not owner)
    owner.client().script_flush()

    with other.process.paused():
        assert gate.admit(*claimed(1, 30)) == [Admitted()]


def test_a_cluster_that_does_not_serve_all_slots_leaves_the_database_to_decide(
    redis_nodes: Sequence[Server], gate: AdmissionGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("coupons.gate.redis_client.RETRY_REDIS_AFTER_S", 0.0)
    gate.load(coupon(1), [])
    owner = RedisNodes(redis_nodes).owner(keys_of(1)[0])
    lost = next(node for node in redis_nodes if node is not owner)
    lost.process.signal(signal.SIGKILL)
    lost.process.wait(within_s=10)

    def is_down() -> bool:
        try:
            gate.admit(*claimed(1, 40))
        except GateUnavailable as error:
            return "CLUSTERDOWN" in str(error) or "cluster is down" in str(error)
        return False

    eventually(is_down, within_s=30)
    lost.process.start()

    def is_back() -> bool:
        try:
            return gate.admit(*claimed(1, 41)) == [Admitted()]
        except GateUnavailable:
            return False

    eventually(is_back, within_s=30)
