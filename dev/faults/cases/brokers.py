"""Three brokers over TLS: some of them die, restart, or lose their certificates."""

from __future__ import annotations

from dev.clusters.brokers import Brokers
from dev.clusters.parts import Part
from dev.clusters.servers import ClusterServers
from dev.faults.case import Case
from dev.faults.scene import Scene

_PARTS = frozenset({Part.BROKERS})


def brokers_of(scene: Scene) -> Brokers:
    assert isinstance(scene.services, ClusterServers)
    return scene.services.brokers


def _kill_leader(scene: Scene) -> None:
    brokers = brokers_of(scene)
    leader = brokers.leader_of(scene.system.topic, scene.partition)
    brokers.kill(leader)
    scene.struck()
    brokers.start(leader)
    brokers.wait_in_sync(scene.system.topic)


CASES = [
    Case(
        name="leader-killed",
        what="the broker that leads the coupon's partition killed (SIGKILL)",
        act=_kill_leader,
        parts=_PARTS,
        in_short=True,
    ),
]
