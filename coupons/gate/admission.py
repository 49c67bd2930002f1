"""The Redis gate: refuses early a claim that is too late, and reserves a slot for any other. Never the truth.

Per coupon the gate holds the reservations (accepted and not yet decided requests), how many coupons
were issued, and the winners of the last minute. Everything in it can be made again from the
database and the undecided events of the log (``coupons/gate/loading.py``). Why this is exact
while Redis lives, and safe when it does not: docs/decisions/admission.md.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any, Final
from uuid import UUID

from coupons.claim import Claim
from coupons.coupon_cache import CachedCoupon
from coupons.gate.keys import (
    claim_in,
    claims_in,
    count_in,
    coupon_of,
    flat,
    keys_of,
    pair,
    paired,
    pairs,
)
from coupons.gate.redis_client import Call, GateMoving, GateRedis, GateUnavailable
from runtime.chunks import in_chunks

__all__ = ["AdmissionGate", "GateMoving", "GateUnavailable", "GateUnknown", "gate"]

#: Reservations that one script loads, and keys in one pipeline. Redis answers nobody else for 10 ms
#: meanwhile. Fewer, and loading takes more round trips; more, and every claim waits longer.
CLAIMS_AT_ONCE: Final = 5_000


class GateUnknown(LookupError):
    """The gate knows nothing of this coupon. Load it (``coupons/gate/loading.py``), then ask again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """A slot is reserved; publish the event, or give the slot back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlreadyRequested:
    first_request_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class OutOfStock:
    """No slot is free.

    ``is_doubtful``: nothing is under way, and yet the caller's view has stock. Read the row, and ask again;
    the second answer stands.
    """

    is_doubtful: bool = field(default=False, compare=False)


Admission = Admitted | AlreadyRequested | OutOfStock


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """The gate is loaded already, by another process or by this one before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GateState:
    """All a coupon's gate holds, but for the winners of the last minute."""

    epoch: str
    issued: int
    reservations: list[Claim]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decisions:
    """What one committed transaction decided of a coupon.

    ``issued_count``: the row's, after the commit; ``decided``: each claim, and whether it got its coupon.
    """

    coupon_id: int
    epoch: str
    issued_count: int
    decided: Sequence[tuple[Claim, bool]]


class AdmissionGate(GateRedis):
    """One per process. Every method raises GateUnavailable when Redis does not answer.

    Every method waits for Redis: call it in a pool thread or the consumer's main thread, never in the loop.
    """

    def admit(self, coupon: CachedCoupon, claims: Sequence[Claim]) -> list[Admission]:
        """Reserve a slot for each claim of this coupon, in order. Raises GateUnknown."""
        [answer] = self.admit_each([(coupon, claims)])
        if isinstance(answer, GateUnknown):
            raise answer
        return answer

    def admit_each(
        self, asked: Sequence[tuple[CachedCoupon, Sequence[Claim]]]
    ) -> list[list[Admission] | GateUnknown]:
        """Reserve slots on several coupons in one call; GateUnknown stands for a gate that must be loaded.

        Also for one that is between two nodes of a cluster: its claims wait as for a loading.
        """
        calls: list[Call] = [
            (
                keys_of(coupon.coupon_id),
                [coupon.epoch, coupon.stock, coupon.issued_count, len(claims), *pairs(claims)],
            )
            for coupon, claims in asked
        ]
        return [
            GateUnknown(f"coupon {coupon.coupon_id}")
            if isinstance(answers, GateMoving) or answers == [b"UNKNOWN"]
            else [_admission(answer) for answer in answers]
            for (coupon, _), answers in zip(asked, self.try_together("admit", calls, head=4), strict=True)
        ]

    def load(self, coupon: CachedCoupon, undecided: Sequence[Claim]) -> bool:
        """Fill the gate if it is empty. ``undecided`` in log order. False: another process filled it."""
        [loaded] = self.load_each([(coupon, undecided)])
        return loaded

    def load_each(self, loading: Sequence[tuple[CachedCoupon, Sequence[Claim]]]) -> list[bool]:
        parts = [list(_loading_calls(coupon, undecided)) for coupon, undecided in loading]
        answers = iter(self.try_each("load", list(chain.from_iterable(parts))))
        return [
            self._is_loaded(coupon, list(islice(answers, len(calls))))
            for (coupon, _), calls in zip(loading, parts, strict=True)
        ]

    def _is_loaded(self, coupon: CachedCoupon, answers: Sequence[Any | GateMoving]) -> bool:
        """Whether all parts are in it. One that met the gate between two nodes is missing from what came."""
        if not any(isinstance(answer, GateMoving) for answer in answers):
            return bool(answers[-1])
        if answers[-1] == 1:
            self.unload(coupon.coupon_id)
        return False

    def release(self, claims: Sequence[Claim]) -> int:
        """Give slots back, each only if it still belongs to that request. Returns how many it gave back."""
        return sum(self._release(claims, keeps_disclosed=False)[0])

    def release_undisclosed(self, claims: Sequence[Claim]) -> list[Claim]:
        """Give slots back, except those of disclosed requests: ids that another claim was answered with.

        Returns the disclosed ones. They stay reserved: a client may ask for them, so they need an outcome
        first.
        """
        kept = self._release(claims, keeps_disclosed=True)[1]
        return [claim for claim in claims if claim.request_id.bytes in kept]

    def _release(self, claims: Sequence[Claim], *, keeps_disclosed: bool) -> tuple[list[int], set[bytes]]:
        by_coupon: dict[int, list[Claim]] = {}
        for claim in claims:
            by_coupon.setdefault(claim.coupon_id, []).append(claim)
        calls: list[Call] = [
            (keys_of(coupon_id), [int(keeps_disclosed), *pairs(group)])
            for coupon_id, group in by_coupon.items()
        ]
        answers = self.run_each("release", calls)
        return [count for count, *_ in answers], {request_id for _, *kept in answers for request_id in kept}

    def notify(self, decisions: Sequence[Decisions]) -> None:
        """Notify the gates of what was committed, in one call. Absolute: a second time changes nothing."""
        calls: list[Call] = [
            (
                keys_of(each.coupon_id),
                [
                    each.epoch,
                    each.issued_count,
                    *flat((*pair(claim), int(won)) for claim, won in each.decided),
                ],
            )
            for each in decisions
        ]
        self.run_each("notify", calls)

    def clear(self, coupon_id: int) -> None:
        """Forget the coupon: its counts, reservations and winners. The next claim loads it anew."""
        self.run("clear", (keys_of(coupon_id), []))

    def unload(self, coupon_id: int) -> None:
        """Forget the count alone; the next claim loads it anew, and the reservations stand."""
        gate, *_ = keys_of(coupon_id)
        self.guarded(lambda: self._redis.hdel(gate, "ready", "issued"))

    def correct(self, coupon: CachedCoupon, *, seen: int) -> bool:
        """Set a count that is too high to the row's, if it still equals ``seen``. Returns whether it did."""
        return bool(
            self.run("correct", (keys_of(coupon.coupon_id), [coupon.epoch, seen, coupon.issued_count]))
        )

    def reserved(self, coupon_id: int) -> int | None:
        """How many requests are accepted and not yet decided; None if the gate must be loaded."""
        return self.reserved_each([coupon_id]).get(coupon_id)

    def reserved_each(self, coupon_ids: Sequence[int]) -> dict[int, int]:
        """``reserved`` of several coupons in one call, without those whose gate must be loaded."""
        calls: list[Call] = [(keys_of(coupon_id), []) for coupon_id in coupon_ids]
        counts: dict[int, int] = {}
        for coupon_id, count in zip(coupon_ids, self.try_together("reserved", calls, head=0), strict=True):
            if isinstance(count, GateMoving):
                raise count
            if count >= 0:
                counts[coupon_id] = count
        return counts

    def of_user(self, user_id: int, coupon_ids: Sequence[int]) -> list[Claim]:
        """This user's reservations on these coupons, for support."""
        field = user_id.to_bytes((user_id.bit_length() + 7) // 8, "big")

        def read() -> list[Claim]:
            pipeline = self._redis.pipeline(transaction=False)
            for coupon_id in coupon_ids:
                pipeline.hget(keys_of(coupon_id)[1], field)
            found = zip(coupon_ids, pipeline.execute(raise_on_error=False), strict=True)
            claims = [claim_in(each, field, value) for each, value in found if isinstance(value, bytes)]
            return [claim for claim in claims if claim is not None]

        return self.guarded(read)

    def standing(self, coupon: CachedCoupon) -> list[Claim] | Loaded:
        [standing] = self.standing_each([coupon])
        return standing

    def standing_each(self, coupons: Sequence[CachedCoupon]) -> list[list[Claim] | Loaded]:
        """The reservations that stand in gates that must be loaded; none of another row's.

        A gate that is between two nodes of a cluster counts as loaded: it cannot be loaded now.
        """
        calls: list[Call] = [(keys_of(coupon.coupon_id), [coupon.epoch]) for coupon in coupons]
        return [
            Loaded()
            if isinstance(answer, GateMoving) or answer[0]
            else list(claims_in(coupon.coupon_id, paired(*answer[1:])))
            for coupon, answer in zip(coupons, self.try_each("standing", calls), strict=True)
        ]

    def state(self, coupon_id: int) -> GateState | None:
        """The gate as it is; None if it is empty. For checks: it reads every reservation."""
        gate, reservations, _ = keys_of(coupon_id)
        self.reserved(coupon_id)  # drops keys of a wrong kind
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.hmget(gate, ["ready", "epoch", "issued"])
        pipeline.hgetall(reservations)
        (ready, epoch, counted), reserved = self.guarded(pipeline.execute)
        issued = count_in(counted)
        if ready != b"1" or epoch is None or issued is None:
            return None
        return GateState(
            epoch=epoch.decode(errors="replace"),
            issued=issued,
            reservations=list(claims_in(coupon_id, reserved.items())),
        )

    def issued_counts(self) -> dict[int, int]:
        """How many each gate counts as issued, by coupon."""

        def read() -> dict[int, int]:
            keys = [key for key in self._each_hash("{coupon:*}:gate") if coupon_of(key) is not None]
            counts = {}
            for key, counted in self._issued(keys):
                coupon_id, issued = coupon_of(key), count_in(counted)
                if coupon_id is not None and issued is not None:
                    counts[coupon_id] = issued
            return counts

        return self.guarded(read)

    def _issued(self, keys: Sequence[bytes]) -> Iterator[tuple[bytes, Any]]:
        for some in in_chunks(keys, CLAIMS_AT_ONCE):
            pipeline = self._redis.pipeline(transaction=False)
            for key in some:
                pipeline.hget(key, "issued")
            yield from zip(some, pipeline.execute(), strict=True)

    def reservations(
        self, *, limit: int | None, coupon_id: int | None = None, of_each: int | None = None, after: int = 0
    ) -> list[Claim]:
        """Reservations of all coupons, or of one: at most ``limit`` in all, at most ``of_each`` of a coupon.

        By the coupons' ids, beginning with the one that follows ``after``, so that a caller with a limit can
        give each coupon its turn.

        Drops damaged fields, because each would keep a slot that nobody gives back. Where such a field was a
        reservation, the hash is one short afterwards, and its gate is loaded anew.
        """
        return self.guarded(lambda: list(islice(self._each_reservation(coupon_id, of_each, after), limit)))

    def _each_reservation(self, only: int | None, of_each: int | None, after: int) -> Iterator[Claim]:
        name = "{coupon:*}:reservations" if only is None else keys_of(only)[1]
        keys = {pk: key for key in self._each_hash(name) if (pk := coupon_of(key)) is not None}
        for coupon_id in sorted(keys, key=lambda pk: (pk <= after, pk)):
            yield from islice(self._each_in(keys[coupon_id], coupon_id), of_each)

    def _each_in(self, key: bytes, coupon_id: int) -> Iterator[Claim]:
        for user, request in self._redis.hscan_iter(key, count=1000):
            claim = claim_in(coupon_id, user, request)
            if claim is not None:
                yield claim
            else:
                self._redis.hdel(key, user)

    def _each_hash(self, name: str) -> Iterator[bytes]:
        """The hashes of this name. A key of a wrong kind is passed over: it must not hide the others."""
        if "*" in name:
            yield from self._redis.scan_iter(match=name, count=1000, _type="hash")
        elif self._redis.type(name) == b"hash":
            yield name.encode()


gate = AdmissionGate()


def _loading_calls(coupon: CachedCoupon, undecided: Sequence[Claim]) -> Iterator[Call]:
    keys = [*keys_of(coupon.coupon_id), f"{keys_of(coupon.coupon_id)[0]}:loading:{uuid.uuid4().hex}"]
    parts = list(in_chunks(undecided, CLAIMS_AT_ONCE)) or [[]]
    for number, part in enumerate(parts, 1):
        is_last = int(number == len(parts))
        yield keys, [coupon.epoch, coupon.issued_count, is_last, *pairs(part)]


#: One object each: a batch has hundreds of these answers.
_FIXED: Final[dict[bytes, Admission]] = {
    b"ADMITTED": Admitted(),
    b"OUT_OF_STOCK": OutOfStock(),
    b"IN_DOUBT": OutOfStock(is_doubtful=True),
}


def _admission(answer: bytes) -> Admission:
    return _FIXED.get(answer) or AlreadyRequested(first_request_id=UUID(bytes=answer))
