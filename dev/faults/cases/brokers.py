"""Three brokers over TLS: some of them die, restart, or lose their certificates."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from django.conf import settings

from coupons.eventlog.events import partition_key, partition_of
from coupons.models import Coupon
from dev import topics
from dev.clusters.brokers import NUMBERS, Brokers
from dev.clusters.parts import Part
from dev.clusters.servers import ClusterServers
from dev.faults import waits
from dev.faults.case import Case, Scale
from dev.faults.rush import Client
from dev.faults.scene import Scene
from dev.faults.stream import Stream
from dev.processes import wait_until
from dev.services.own import Services
from tests.broker import alter_topic
from tests.system import ask

_PARTS = frozenset({Part.BROKERS})
_BESIDE_PER_S = 20
_ROLLING_S = 60.0
_COLD = 6  #: coupons that nobody has claimed
_LATER_S = 1.0  #: a claim of a partition that is known to be dead is answered within this


def brokers_of(scene: Scene) -> Brokers:
    assert isinstance(scene.services, ClusterServers)
    return scene.services.brokers


@contextmanager
def _beside(scene: Scene, *, partition: int) -> Iterator[None]:
    """Claims on a coupon of this partition go on: none is refused.

    At first they may wait: Kafka answers the requests of one connection one after the other, and a Produce to
    another partition waits for a replica that is not yet known to be dead.
    """
    coupon = _new_coupon(partition)
    users = scene.users_beside(2000)
    stream = Stream(port=scene.api.port, coupon_id=coupon.pk, users=users, per_s=_BESIDE_PER_S)
    stream.start()
    try:
        stream.wait_accepted(_BESIDE_PER_S)  # its gate is loaded
        told_before, began = len(stream.answers), time.monotonic()
        yield
    finally:
        stream.abandon()
    told = stream.answers[told_before:]
    refused = sum(not answer.is_last_word for answer in told)
    scene.expect(len(told) > _BESIDE_PER_S, "nobody claimed beside")
    scene.expect(not refused, f"{refused} of {len(told)} claims of another partition were refused")
    longest = waits.longest(told)
    scene.expect(longest <= scene.publish_timeout_s, f"a claim of another partition waited {longest:.1f} s")
    later = waits.longest(each for each in told if each.asked_at > began + scene.publish_timeout_s)
    scene.expect(later <= _LATER_S, f"a later claim of another partition waited {later:.1f} s")


def _new_coupon(partition: int) -> Coupon:
    return next(each for each in _new_coupons() if _partition_of(each) == partition)


def _new_coupons() -> Iterator[Coupon]:
    while True:
        yield Coupon.objects.create(description="beside", discount_amount=1, stock=10_000)


def _partition_of(coupon: Coupon) -> int:
    return partition_of(partition_key(coupon.pk), settings.CONFIG.kafka.partitions)


def _claim_cold(scene: Scene, *, dead: int, living: int | None = None) -> None:
    """Claims on coupons that nobody has claimed: those of a dead partition are refused at once, others go on.

    Several of each: each worker is asked.
    """
    client, [user] = Client(scene.api.port), scene.users_beside(1)
    for partition in [dead] * _COLD + ([] if living is None else [living] * _COLD):
        told = client.claim(_new_coupon(partition).pk, user)
        client.close()
        wanted = (503, _LATER_S) if partition == dead else (202, scene.publish_timeout_s)
        scene.expect(
            told.status == wanted[0] and told.took_s <= wanted[1],
            f"a claim on a new coupon, partition {partition}: {told.status} after {told.took_s:.1f} s",
        )
        scene.expect(partition != dead or told.request_id is None, "it was told an id, and never published")


def _kill_leader(scene: Scene) -> None:
    """It has a replica of the other partitions too: they wait until it is known to be dead, and go on."""
    brokers, topic = brokers_of(scene), scene.system.topic
    leader = brokers.leader_of(topic, scene.partition)
    other = next(each for each in brokers.replicas(topic) if brokers.leader_of(topic, each) != leader)
    with _beside(scene, partition=other):
        brokers.kill(leader)
        scene.struck()
        time.sleep(scene.scale.outage_s)
    brokers.start(leader)
    brokers.wait_in_sync(topic)


def _freeze_leader(scene: Scene) -> None:
    """Its connections stay open, and it believes that it still leads when it wakes."""
    brokers, topic = brokers_of(scene), scene.system.topic
    leader = brokers.nodes[brokers.leader_of(topic, scene.partition)].server
    with leader.paused():
        scene.struck()
        time.sleep(scene.scale.outage_s)
    brokers.wait_in_sync(topic)


def _kill_replica(scene: Scene) -> None:
    """With two replicas of each partition, both needed: two partitions are dead then, the third is not."""
    brokers, topic = brokers_of(scene), scene.system.topic
    alter_topic(topic, {"min.insync.replicas": "2"})
    replicas = brokers.replicas(topic)
    dying, other = next(
        (node, partition)
        for node in replicas[scene.partition]
        for partition, nodes in replicas.items()
        if node not in nodes
    )
    with _beside(scene, partition=other):
        brokers.kill(dying)
        scene.struck()
        time.sleep(scene.publish_timeout_s + scene.scale.outage_s)
        _claim_cold(scene, dead=scene.partition, living=other)
        told = ask(scene.api.port, "GET", "/actuator/health").body["components"]["kafka"]
    scene.expect(
        told["status"] == "UP" and scene.partition in told["details"].get("deadPartitions", ()),
        f"readiness did not name the dead partition alone: {told}",
    )
    brokers.start(dying)
    brokers.wait_in_sync(topic)


def _kill_two(scene: Scene) -> None:
    brokers = brokers_of(scene)
    survivor = next(
        number for number in NUMBERS if number != brokers.leader_of(scene.system.topic, scene.partition)
    )
    dead = [number for number in NUMBERS if number != survivor]
    brokers.kill(*dead)
    scene.struck()
    time.sleep(scene.scale.outage_s)
    _claim_cold(scene, dead=scene.partition)
    brokers.start(*dead)
    brokers.wait_in_sync(scene.system.topic)


def _restart_in_turn(scene: Scene) -> None:
    """A rolling restart: the next one when the replicas of the one before are in sync again."""
    brokers = brokers_of(scene)
    scene.struck()
    for number in NUMBERS:
        brokers.restart(number)
        brokers.wait_in_sync(scene.system.topic)


def _kill_controller(scene: Scene) -> None:
    brokers = brokers_of(scene)
    controller = brokers.controller()
    brokers.kill(controller)
    scene.struck()
    time.sleep(scene.scale.outage_s)
    brokers.start(controller)
    brokers.wait_in_sync(scene.system.topic)
    scene.expect(brokers.controller() != controller, "the controller did not change")


def _let_certificates_expire(scene: Scene) -> None:
    """Whoever is connected stays so; so all brokers die, and nobody trusts them when they are back."""
    brokers = brokers_of(scene)
    brokers.present(brokers.certificates.expired())
    brokers.kill()
    scene.struck()
    brokers.start(trusting=True)
    told = wait_until(lambda: "certificate" in _cause(scene), within_s=30, every_s=0.5)
    scene.expect(told, "health did not say that the certificate is the cause")
    brokers.present(brokers.certificates.renewed())
    brokers.wait_in_sync(scene.system.topic)


def _cause(scene: Scene) -> str:
    body = ask(scene.api.port, "GET", "/actuator/health").body
    return str(body["components"]["kafka"].get("details", {}).get("cause", ""))


def _waits_are_bounded(scene: Scene) -> None:
    answers = list(scene.rush.answers)
    longest, later = waits.longest(answers), waits.later(answers)
    slow = [each for each in answers if each.took_s > scene.publish_timeout_s]
    first = min((each.asked_at for each in answers), default=0.0)
    came = ", ".join(f"{each.asked_at - first:.2f} s ({each.status})" for each in slow[:5])
    scene.expect(not slow, f"{len(slow)} claims waited for up to {longest:.1f} s; they came after {came}")
    late = sorted((each for each in later if each.took_s > _LATER_S), key=lambda each: -each.took_s)
    told = ", ".join(f"{each.took_s:.1f} s{' (uncertain)' if each.request_id else ''}" for each in late[:5])
    scene.expect(not late, f"{len(late)} of {len(later)} claims of a dead partition waited for long: {told}")
    refused = sum(not answer.is_last_word for answer in answers)
    uncertain = sum(answer.status == 503 and answer.request_id is not None for answer in answers)
    within_s = waits.longest(later)
    print(f"({refused} refused, {uncertain} of them uncertain, later ones within {within_s:.2f} s) ", end="")


def _nobody_is_refused(scene: Scene) -> None:
    refused = sum(not answer.is_last_word for answer in scene.rush.answers)
    scene.expect(not refused, f"{refused} claims were refused")
    _waits_are_bounded(scene)


def _case(
    name: str,
    what: str,
    act: Callable[[Scene], None],
    demands: Callable[[Scene], None] = _waits_are_bounded,
    around: Callable[[Services], AbstractContextManager[None]] = lambda services: nullcontext(),
    lasts_s: Callable[[Scale], float] | None = None,
) -> Case:
    return Case(
        name=name,
        what=what,
        act=act,
        demands=demands,
        around=around,
        lasts_s=lasts_s,
        env={"COUPON_PUBLISH_TIMEOUT_MS": "9000"},
        is_stream=True,
        parts=_PARTS,
        in_short=name in ("leader-killed", "two-of-three-killed"),
    )


CASES = [
    _case(
        "leader-killed", "the coupon's partition's leader killed (SIGKILL)", _kill_leader, _nobody_is_refused
    ),
    _case("leader-frozen", "the same broker frozen (SIGSTOP) and woken", _freeze_leader),
    _case(
        "partition-dead",
        "a broker killed of which two partitions need a replica; the third partition goes on",
        _kill_replica,
        around=lambda services: topics.in_settings(replication_factor=2),
    ),
    _case("two-of-three-killed", "two of three brokers killed (SIGKILL), back after a while", _kill_two),
    _case(
        "brokers-restarted",
        "rolling restart of the brokers (SIGTERM)",
        _restart_in_turn,
        _nobody_is_refused,
        lasts_s=lambda scale: _ROLLING_S,
    ),
    _case("controller-killed", "the active controller, a broker too, killed (SIGKILL)", _kill_controller),
    _case(
        "certificates-expired",
        "all brokers killed, back with a certificate that has expired, renewed while they run",
        _let_certificates_expire,
    ),
]
