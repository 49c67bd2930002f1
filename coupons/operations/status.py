"""The whole system on one screen: what `kafka-topics` and `kafka-consumer-groups` tell, and the rest.

Each part is asked by itself: a server that is away costs its own part.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Final, TypeVar

from django.db import Error as DatabaseLayerError
from django.db.models import Count, Sum
from django_redis import get_redis_connection
from redis.exceptions import RedisError

from coupons.eventlog import cluster, log_state
from coupons.eventlog.cluster import Group, Topic
from coupons.eventlog.log_reader import LogUnavailable
from coupons.eventlog.log_state import PartitionState
from coupons.gate.admission import GateUnavailable, gate
from coupons.models import Coupon, CouponStatus, DeadLetter, DeadLetterState
from coupons.operations import deferring
from coupons.operations.deferring import Deferring
from runtime import metrics_folder
from runtime.operator_language import marked, say

_GATES: Final = 10  #: those with the most reservations are shown: a screen
_LOCKS: Final = 20
_NOBODY: Final = ("EMPTY", "DEAD")  #: a group's states in which no consumer is there
_AWAY: Final = (LogUnavailable, DatabaseLayerError, RedisError, GateUnavailable)
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """A coupon's gate beside its row. ``reserved``: accepted and not yet decided."""

    coupon_id: int
    reserved: int
    issued: int
    stock: int | None
    issued_in_database: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    name: str
    expires_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Coupons:
    opened: int
    closed: int
    stock: int
    issued: int


@dataclass(slots=True, kw_only=True)
class Status:
    """What could be asked; ``away`` says of each part that could not be asked why. Absent parts are None."""

    topic: Topic | None = None
    group: Group | None = None
    positions: list[PartitionState] | None = None
    coupons: Coupons | None = None
    deferring: list[Deferring] | None = None  #: coupons whose deciding is paused, or catches up
    dead_letters: dict[str, int] | None = None
    gates: list[Gate] | None = None
    locks: list[Lock] | None = None
    api_workers: dict[int, list[int]] = field(default_factory=dict)  #: pids by port, on this machine
    away: dict[str, str] = field(default_factory=dict)

    @property
    def lag(self) -> int | None:
        return None if self.positions is None else sum(each.undecided for each in self.positions)

    @property
    def wrong(self) -> list[str]:
        """What an operator must see first, a line each."""
        stuck = [each for each in self.positions or () if each.state.is_a_loss]
        lines = [
            say("partition {partition} stands still: {state}", partition=each.partition, state=each.state)
            for each in stuck
        ]
        # The embedded broker tells of a stable group without its members.
        if self.group and self.group.state in _NOBODY:
            lines.append(
                say(
                    "no consumer of {group_id} is there: {lag} events wait",
                    group_id=self.group.group_id,
                    lag=self.lag or 0,
                )
            )
        for number, each in self.topic.partitions.items() if self.topic else ():
            if each.leader is None:
                lines.append(
                    say("partition {number} has no leader: nothing can be published to it", number=number)
                )
            elif missing := set(each.replicas) - set(each.in_sync):
                lines.append(
                    say(
                        "partition {number}: replicas not in sync: {missing}",
                        number=number,
                        missing=sorted(missing),
                    )
                )
        if waiting := (self.dead_letters or {}).get(DeadLetterState.WAITING.value):
            lines.append(say("{waiting} dead letters wait: `manage.py dead_letters list`", waiting=waiting))
        return [*lines, *(f"{say(part)}: {why}" for part, why in self.away.items())]

    def as_json(self) -> dict[str, Any]:
        """Names in camelCase, as in all JSON of ours."""
        found = _camel({name: value for name, value in asdict(self).items() if name != "positions"})
        positions = self.positions
        found["positions"] = positions and [
            _camel(asdict(each)) | {"undecided": each.undecided} for each in positions
        ]
        return {**found, "lag": self.lag, "wrong": self.wrong}


def look() -> Status:
    """Ask everything once. Waits some seconds for each server that does not answer."""
    status = Status(api_workers=metrics_folder.workers())

    def asked(part: str, ask: Callable[[], T]) -> T | None:
        try:
            return ask()
        except _AWAY as error:
            status.away[part] = f"{type(error).__name__}: {say(str(error))}"
            return None

    status.topic = asked(marked("topic"), cluster.topic)
    if status.topic is not None:
        status.group = asked(marked("group"), cluster.group)
        status.positions = asked(marked("positions"), log_state.look)
    status.coupons = asked(marked("coupons"), _coupons)
    status.deferring = asked(marked("deferring"), deferring.look)
    status.dead_letters = asked(marked("dead letters"), _dead_letters)
    status.gates = asked(marked("gates"), _gates)
    if status.gates is not None:
        status.locks = asked(marked("locks"), _locks)
    return status


def _coupons() -> Coupons:
    found = Coupon.objects.values("coupon_status").annotate(number=Count("pk"))
    number = {row["coupon_status"]: row["number"] for row in found}
    sums = Coupon.objects.aggregate(stock=Sum("stock"), issued=Sum("issued_count"))
    return Coupons(
        opened=number.get(CouponStatus.OPENED.value, 0),
        closed=number.get(CouponStatus.CLOSED.value, 0),
        stock=int(sums["stock"] or 0),
        issued=int(sums["issued"] or 0),
    )


def _dead_letters() -> dict[str, int]:
    found = DeadLetter.objects.order_by().values("state").annotate(number=Count("pk"))
    return {row["state"]: row["number"] for row in found}


def _gates() -> list[Gate]:
    """The gates with the most reservations."""
    issued = gate.issued_counts()
    reserved = {coupon_id: gate.reserved(coupon_id) for coupon_id in issued}
    known = [(number, coupon_id) for coupon_id, number in reserved.items() if number is not None]
    shown = sorted(known, key=lambda each: (-each[0], each[1]))[:_GATES]
    rows = Coupon.objects.in_bulk([coupon_id for _, coupon_id in shown])
    return [
        Gate(
            coupon_id=coupon_id,
            reserved=number,
            issued=issued[coupon_id],
            stock=rows[coupon_id].stock if coupon_id in rows else None,
            issued_in_database=rows[coupon_id].issued_count if coupon_id in rows else None,
        )
        for number, coupon_id in shown
    ]


def _locks() -> list[Lock]:
    """Locks that are held: of coupons, and of the turn to keep house."""
    client = get_redis_connection("locks")
    found = []
    for key in client.scan_iter(match="lock:{coupon*}", count=1000):
        left_ms = client.pttl(key)
        if left_ms > 0:
            found.append(
                Lock(name=key.decode(errors="replace").removeprefix("lock:"), expires_s=left_ms / 1000)
            )
        if len(found) == _LOCKS:
            break
    return sorted(found, key=lambda lock: lock.name)


def _camel(value: Any) -> Any:
    if isinstance(value, dict):
        return {_camel_name(key): _camel(each) for key, each in value.items()}
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    if isinstance(value, list | tuple):
        return [_camel(each) for each in value]
    return value


def _camel_name(name: Any) -> Any:
    if not isinstance(name, str) or "." in name or name.isupper():
        return name
    first, *rest = name.replace(" ", "_").split("_")
    return first + "".join(part.title() for part in rest)
