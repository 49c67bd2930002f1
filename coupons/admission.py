"""The Redis gate: says early who is too late, and reserves a slot for who is not. Never the truth.

Per coupon it holds the reservations (accepted and not yet decided requests), how many coupons
were issued, and the winners of the last minute. Everything in it can be made again from the
database and the undecided events of the log (``coupons/gate_loading.py``). Why this is exact
while Redis lives, and safe when it does not: docs/decisions/admission.md.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final, TypeVar
from uuid import UUID

from django_redis import get_redis_connection
from redis import Redis
from redis.exceptions import RedisError

from coupons.catalog import CouponView
from couponsite import metrics

_LUA: Final = Path(__file__).parent / "lua"
_RETRY_REDIS_AFTER_S: Final = 1.0
T = TypeVar("T")


class GateUnavailable(RuntimeError):
    """Redis did not answer. Check in the database instead."""


class GateUnknown(LookupError):
    """The gate holds nothing about this coupon. Load it (gate_loading), then ask again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One user's request for one coupon."""

    coupon_id: int
    user_id: int
    request_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """A slot is reserved; publish the event, or give the slot back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlreadyRequested:
    first_request_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class OutOfStock:
    """No slot is free."""


Admission = Admitted | AlreadyRequested | OutOfStock


@dataclass(frozen=True, slots=True, kw_only=True)
class GateState:
    """All a coupon's gate holds, but for the winners of the last minute."""

    epoch: str
    issued: int
    reservations: list[Claim]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """What one committed transaction decided of a coupon.

    ``issued_count`` as it is after the commit; ``decided``: each claim, and whether it was issued.
    """

    coupon_id: int
    epoch: str
    issued_count: int
    decided: Sequence[tuple[Claim, bool]]


class AdmissionGate:
    """One per process. Every method raises GateUnavailable when Redis does not answer.

    After a failure Redis is left alone for a second, so that its timeout is not waited out by
    every claim.
    """

    def __init__(self) -> None:
        self._away_until = 0.0

    @cached_property
    def _redis(self) -> Redis:
        client: Redis = get_redis_connection("default")
        return client

    @cached_property
    def _scripts(self) -> Mapping[str, Any]:
        return {path.stem: self._redis.register_script(path.read_text()) for path in _LUA.glob("*.lua")}

    @property
    def is_away(self) -> bool:
        return time.monotonic() < self._away_until

    def admit(self, coupon: CouponView, claims: Sequence[Claim]) -> list[Admission]:
        """Reserve a slot for each claim of this coupon, in order. Raises GateUnknown."""
        answers = self._run(
            "admit", coupon.coupon_id, coupon.epoch, coupon.stock, coupon.issued_count, *_pairs(claims)
        )
        if answers == [b"UNKNOWN"]:
            raise GateUnknown(f"coupon {coupon.coupon_id}")
        return [_admission(answer) for answer in answers]

    def load(self, coupon: CouponView, undecided: Sequence[Claim]) -> bool:
        """Fill the gate if it is empty. ``undecided`` in log order. False: somebody else did."""
        return bool(
            self._run("load", coupon.coupon_id, coupon.epoch, coupon.issued_count, *_pairs(undecided))
        )

    def release(self, claims: Sequence[Claim]) -> int:
        """Give slots back, each only if it is still that request's. Returns how many were."""
        return sum(self._release(claims, keeps_told=False)[0])

    def release_untold(self, claims: Sequence[Claim]) -> list[Claim]:
        """Give slots back, but for requests that another claim of their user was answered with.

        Those are returned, and stay reserved: somebody will ask for them, so they need an outcome first.
        """
        kept = self._release(claims, keeps_told=True)[1]
        return [claim for claim in claims if claim.request_id.bytes in kept]

    def _release(self, claims: Sequence[Claim], *, keeps_told: bool) -> tuple[list[int], set[bytes]]:
        released: list[int] = []
        kept: set[bytes] = set()
        for coupon_id in {claim.coupon_id for claim in claims}:
            group = [claim for claim in claims if claim.coupon_id == coupon_id]
            count, *told = self._run("release", coupon_id, int(keeps_told), *_pairs(group))
            released.append(count)
            kept.update(told)
        return released, kept

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """Tell the gates what was committed, all in one call."""
        pipeline = self._redis.pipeline(transaction=False)
        for settlement in settlements:
            self._scripts["settle"](
                keys=_keys(settlement.coupon_id),
                args=[
                    settlement.epoch,
                    settlement.issued_count,
                    *_flat((*_pair(claim), int(won)) for claim, won in settlement.decided),
                ],
                client=pipeline,
            )
        self.guarded(pipeline.execute)

    def clear(self, coupon_id: int) -> None:
        """Forget the coupon: its counts, reservations and winners. The next claim loads it anew."""
        self._run("clear", coupon_id)

    def unload(self, coupon_id: int) -> None:
        """Forget the count alone; the next claim loads it anew, and the reservations stand."""
        gate, _, _ = _keys(coupon_id)
        self.guarded(lambda: self._redis.hdel(gate, "ready", "issued"))

    def is_loaded(self, coupon: CouponView) -> bool:
        """Whether the gate is of this very coupon row."""
        gate, _, _ = _keys(coupon.coupon_id)
        loaded = self.guarded(lambda: self._redis.hmget(gate, ["ready", "epoch"]))
        return loaded == [b"1", coupon.epoch.encode()]

    def reserved(self, coupon_id: int) -> int | None:
        """How many requests are accepted and not yet decided; None if the gate is empty."""
        gate, reservations, _ = _keys(coupon_id)
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.hget(gate, "ready")
        pipeline.hlen(reservations)
        ready, count = self.guarded(pipeline.execute)
        return int(count) if ready == b"1" else None

    def standing(self, coupon: CouponView) -> list[Claim]:
        """The reservations there are, in a gate that is loaded or not; none of another row's."""
        gate, reservations, _ = _keys(coupon.coupon_id)
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.hget(gate, "epoch")
        pipeline.hgetall(reservations)
        epoch, reserved = self.guarded(pipeline.execute)
        if epoch not in (None, coupon.epoch.encode()):
            return []
        return [_reservation(coupon.coupon_id, *pair) for pair in reserved.items()]

    def state(self, coupon_id: int) -> GateState | None:
        """The gate as it is; None if it is empty. For checks: it reads every reservation."""
        gate, reservations, _ = _keys(coupon_id)
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.hmget(gate, ["ready", "epoch", "issued"])
        pipeline.hgetall(reservations)
        (ready, epoch, issued), reserved = self.guarded(pipeline.execute)
        if ready != b"1":
            return None
        return GateState(
            epoch=epoch.decode(),
            issued=int(issued),
            reservations=[_reservation(coupon_id, *pair) for pair in reserved.items()],
        )

    def issued_counts(self) -> dict[int, int]:
        """How many each gate counts as issued, by coupon."""

        def read() -> dict[int, int]:
            counts = {}
            for key in self._redis.scan_iter(match="{coupon:*}:gate", count=1000):
                if (issued := self._redis.hget(key, "issued")) is not None:
                    counts[_coupon_id(key)] = int(issued)
            return counts

        return self.guarded(read)

    def reservations(self, *, limit: int, coupon_id: int | None = None) -> list[Claim]:
        """Reservations of all coupons, or of one, ``limit`` at most."""
        return self.guarded(lambda: list(islice(self._each_reservation(coupon_id), limit)))

    def _each_reservation(self, only: int | None) -> Iterator[Claim]:
        keys = (
            self._redis.scan_iter(match="{coupon:*}:reservations", count=1000)
            if only is None
            else [_keys(only)[1].encode()]
        )
        for key in keys:
            for pair in self._redis.hscan_iter(key, count=1000):
                yield _reservation(_coupon_id(key), *pair)

    def _run(self, script: str, coupon_id: int, *args: int | str | bytes) -> Any:
        return self.guarded(lambda: self._scripts[script](keys=_keys(coupon_id), args=args))

    def guarded(self, call: Callable[[], T]) -> T:
        """What a call to Redis returns. Raises GateUnavailable, at once if it failed a moment ago."""
        if self.is_away:
            raise GateUnavailable("Redis did not answer a moment ago")
        try:
            return call()
        except RedisError as error:
            self._away_until = time.monotonic() + _RETRY_REDIS_AFTER_S
            metrics.GATE_FAILURES.inc()
            raise GateUnavailable(str(error)) from error


gate = AdmissionGate()


def _keys(coupon_id: int) -> tuple[str, str, str]:
    # One hash tag: all of a coupon's keys live on one node of a Redis Cluster.
    tag = f"{{coupon:{coupon_id}}}"
    return f"{tag}:gate", f"{tag}:reservations", f"{tag}:settled:"


def _coupon_id(key: bytes) -> int:
    return int(key.partition(b":")[2].partition(b"}")[0])


def _reservation(coupon_id: int, user_id: bytes, request_id: bytes) -> Claim:
    return Claim(
        coupon_id=coupon_id, user_id=int.from_bytes(user_id, "big"), request_id=UUID(bytes=request_id)
    )


def _pairs(claims: Iterable[Claim]) -> Iterable[int | bytes]:
    return _flat(map(_pair, claims))


def _pair(claim: Claim) -> tuple[bytes, bytes]:
    # 3 bytes and 16 instead of 7 and 36: Redis keeps them for every claimant.
    user_id = claim.user_id
    return user_id.to_bytes((user_id.bit_length() + 7) // 8, "big"), claim.request_id.bytes


def _flat(rows: Iterable[tuple[int | bytes, ...]]) -> Iterable[int | bytes]:
    return chain.from_iterable(rows)


def _admission(answer: bytes) -> Admission:
    match answer:
        case b"ADMITTED":
            return Admitted()
        case b"OUT_OF_STOCK":
            return OutOfStock()
        case _:
            return AlreadyRequested(first_request_id=UUID(bytes=answer))
