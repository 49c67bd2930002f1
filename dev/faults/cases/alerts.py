"""Faults wake somebody: each alert fires in a real Prometheus while its fault lasts, one after the other."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID

from django.db import connection
from django.db.models import F

from coupons.eventlog.events import partition_key
from coupons.models import IssueOutcome
from dev import topics
from dev.faults import log
from dev.faults.case import Case
from dev.faults.prometheus import SCRAPE_S, Prometheus, watching
from dev.faults.scene import Scene
from dev.processes import wait_until

#: Until an alert must fire: a range and the alert's own time are some seconds here; a pause of the consumer
#: between two tries is 5 s at most.
_WITHIN_S: Final = 60.0
#: As _WITHIN_S, for what a consumer looks after once a minute.
_WATCHED_WITHIN_S: Final = 100.0
_LASTS_S: Final = 120.0  #: of the rush: claims come as long as the faults last that need some


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """``end`` is called however the wait for the alerts ended."""

    begin: Callable[[Scene], object]
    end: Callable[[Scene], object]
    alerts: tuple[str, ...]
    within_s: float = _WITHIN_S


def strike(fault: Fault, scene: Scene, prometheus: Prometheus) -> None:
    already = prometheus.firing() & set(fault.alerts)
    scene.expect(not already, f"{sorted(already)} fired before anything was wrong")
    fault.begin(scene)
    try:
        for alert in fault.alerts:
            fires = prometheus.wait_firing(alert, within_s=fault.within_s)
            scene.expect(fires, f"{alert} did not fire within {fault.within_s:.0f} s")
    finally:
        fault.end(scene)


def _make_read_only(scene: Scene) -> None:
    """While claims are accepted: after the fault before, the API may refuse them, and nothing would wait."""
    scene.rush.wait_accepted(len(scene.rush.accepted) + 20)
    scene.services.sql("SET GLOBAL read_only = 1")


def _make_writable(scene: Scene) -> None:
    scene.services.sql("SET GLOBAL read_only = 0")


def _start_consumer(scene: Scene) -> None:
    scene.consumer.start().wait_ready()


def _write_rubbish(scene: Scene) -> None:
    """Twice: a counter that is new in Prometheus has not increased."""
    for _ in range(2):
        topics.write(scene.system.topic, [(partition_key(scene.coupon_id), b"rubbish")])
        scene.expect(log.wait_decided(within_s=_WITHIN_S), "the consumer did not get through")
        time.sleep(3 * SCRAPE_S)


def _delete_undecided(scene: Scene) -> None:
    """Accepted requests are deleted while no consumer runs: its partition stands still when it is back."""
    scene.consumer.stop()
    at, enough = log.positions(), len(scene.rush.accepted) + 5
    scene.rush.wait_accepted(enough)
    undecided = [(place, request) for place, request in log.entries() if place.offset >= at[place.partition]]
    if not undecided:
        raise RuntimeError("the rush was over before the consumer was stopped")
    gone = undecided[: max(1, len(undecided) // 2)]
    scene.gone_ids += [str(request.event.request_id) for _, request in gone if request is not None]
    log.delete_before(gone[0][0].partition, gone[-1][0].following)
    scene.consumer.start()


def _accept_loss(scene: Scene) -> None:
    done = scene.system.manage("log_position", "accept-loss", "--yes")
    scene.expect(done.returncode == 0, f"the loss was not accepted: {done.stderr}")
    scene.expect(log.wait_decided(within_s=_WATCHED_WITHIN_S), "deciding did not go on")


class _Tampering:
    """Somebody changes when a request was made, of the one that was decided last, and changes it back."""

    def __init__(self) -> None:
        self._pk = UUID(int=0)

    def begin(self, scene: Scene) -> None:
        connection.close()
        issued = IssueOutcome.objects.filter(coupon_id=scene.coupon_id, status="ISSUED")
        self._pk = issued.order_by("-kafka_offset").values_list("pk", flat=True)[0]
        self._move(timedelta(hours=1))

    def end(self, scene: Scene) -> None:
        self._move(-timedelta(hours=1))

    def _move(self, by: timedelta) -> None:
        connection.close()
        IssueOutcome.objects.filter(pk=self._pk).update(requested_at=F("requested_at") + by)


def _faults() -> list[Fault]:
    """Those first that need claims."""
    tampering = _Tampering()
    return [
        Fault(
            begin=lambda scene: scene.services.do("pause", "redis"),
            end=lambda scene: scene.services.do("resume", "redis"),
            alerts=("CouponGateAway",),
        ),
        Fault(
            begin=lambda scene: scene.services.do("pause", "kafka"),
            end=lambda scene: scene.services.do("resume", "kafka"),
            alerts=("CouponPublishingFails",),
        ),
        Fault(
            begin=_make_read_only,
            end=_make_writable,
            alerts=("CouponRetrying", "CouponNothingDecided"),
        ),
        Fault(begin=_delete_undecided, end=_accept_loss, alerts=("CouponPartitionStuck",)),
        Fault(
            begin=lambda scene: scene.consumer.kill(),
            end=_start_consumer,
            alerts=("CouponTargetDown",),
        ),
        Fault(begin=_write_rubbish, end=lambda scene: None, alerts=("CouponDeadLetters",)),
        Fault(
            begin=tampering.begin,
            end=tampering.end,
            alerts=("CouponVerifyRed",),
            within_s=_WATCHED_WITHIN_S,
        ),
    ]


def _each_alert(scene: Scene) -> None:
    with watching(scene.system) as prometheus:
        for fault in _faults():
            strike(fault, scene, prometheus)
        lasting = ("CouponGateAway", "CouponPublishingFails", "CouponRetrying", "CouponTargetDown")
        is_quiet = wait_until(lambda: not prometheus.firing() & set(lasting), within_s=_WITHIN_S, every_s=0.5)
        scene.expect(is_quiet, f"fired on after their faults: {sorted(prometheus.firing())}")


CASES = [
    Case(
        name="alerts",
        what="eight alerts fire in a real Prometheus: servers stopped, a consumer killed, rubbish, deletions",
        act=_each_alert,
        lasts_s=lambda scale: _LASTS_S,
        in_short=True,
    ),
]
