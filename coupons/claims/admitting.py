"""Ask the gates for a slot for each claim of a batch; ask again where a refusal may be outdated.

The ordinary case is one call to Redis. A second call follows where a refusal rests on something that may be
over: an earlier request that was decided and gave its user nothing, or a count that contradicts the row.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from django.db import Error as DatabaseLayerError

from coupons import coupon_cache, selectors
from coupons.claim import Claim
from coupons.coupon_cache import CachedCoupon
from coupons.eventlog import deferred
from coupons.gate import pending
from coupons.gate.admission import (
    Admission,
    Admitted,
    AlreadyRequested,
    GateUnavailable,
    GateUnknown,
    OutOfStock,
    gate,
)

log = logging.getLogger(__name__)

Coupons = Mapping[int, CachedCoupon]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """``answers`` by request id; ``cold``: claims without an answer yet, because their gate must be loaded.

    ``unproven``: requests that an answer names and that have neither an outcome nor a known place in the log.
    ``is_without_gate``: Redis was away, and nothing is reserved.
    """

    answers: dict[UUID, Admission] = field(default_factory=dict)
    cold: list[Claim] = field(default_factory=list)
    unproven: list[Claim] = field(default_factory=list)
    is_without_gate: bool = False


def ask(coupons: Coupons, claims: Sequence[Claim]) -> Asked:
    """Reserve slots, in the order given. Raises GateUnavailable if no gate answered, or a database error.

    Waits for Redis and the database: runs in a pool thread, never in the loop.
    """
    answers = _ask(coupons, claims)
    decided: dict[UUID, bool] = {}
    if any(map(_may_be_outdated, answers.values())):
        try:
            decided = selectors.decided(_named(claims, answers).values())
            again = [claim for claim in claims if _is_open_still(answers.get(claim.request_id), decided)]
            if again:
                answers |= _ask_again(coupons, again, answers)
        except DatabaseLayerError:
            _give_back([claim for claim in claims if answers.get(claim.request_id) == Admitted()])
            raise
    named = _named(claims, answers)
    return Asked(
        answers=answers,
        cold=[claim for claim in claims if claim.request_id not in answers],
        unproven=_unproven([claim for request_id, claim in named.items() if request_id not in decided]),
    )


def _may_be_outdated(answer: Admission) -> bool:
    return isinstance(answer, AlreadyRequested) or (isinstance(answer, OutOfStock) and answer.is_doubtful)


def _give_back(admitted: Sequence[Claim]) -> None:
    """Give back slots whose claims are not published: the batch is answered with the database's error."""
    try:
        gate.release_undisclosed(admitted)
    except GateUnavailable as error:
        log.warning("%d slots are given back later, as leaked ones: %s", len(admitted), error)


def _ask(coupons: Coupons, claims: Iterable[Claim]) -> dict[UUID, Admission]:
    """The gates' answers by request id, without the claims whose gate is unknown."""
    groups: dict[int, list[Claim]] = {}
    for claim in claims:
        groups.setdefault(claim.coupon_id, []).append(claim)
    asked = [(coupons[coupon_id], group) for coupon_id, group in groups.items()]
    return {
        claim.request_id: admission
        for (_, group), admissions in zip(asked, gate.admit_each(asked), strict=True)
        if not isinstance(admissions, GateUnknown)
        for claim, admission in zip(group, admissions, strict=True)
    }


def _named(claims: Iterable[Claim], answers: Mapping[UUID, Admission]) -> dict[UUID, Claim]:
    """The earlier requests that the answers name, each as its user's claim, by request id."""
    return {
        answer.first_request_id: claim.as_request(answer.first_request_id)
        for claim in claims
        if isinstance(answer := answers.get(claim.request_id), AlreadyRequested)
    }


def _is_open_still(answer: Admission | None, decided: Mapping[UUID, bool]) -> bool:
    match answer:
        case OutOfStock(is_doubtful=is_doubtful):
            return is_doubtful
        case AlreadyRequested(first_request_id=first):
            return decided.get(first) is False  # the earlier request is over, and its user has no coupon
        case _:
            return False


def _ask_again(
    coupons: Coupons, claims: Sequence[Claim], answers: Mapping[UUID, Admission]
) -> dict[UUID, Admission]:
    """Ask once more for claims whose refusal may be outdated; the second answer stands."""
    outdated = [
        claim.as_request(answer.first_request_id)
        for claim in claims
        if isinstance(answer := answers[claim.request_id], AlreadyRequested)
    ]
    doubted = {claim.coupon_id for claim in claims if isinstance(answers[claim.request_id], OutOfStock)}
    rows = coupon_cache.cached_coupons(doubted, fresh=True) if doubted else {}
    try:
        gate.release(outdated)
        return _ask({**coupons, **rows}, claims)
    except GateUnavailable as error:
        log.warning("%d refusals stand that may be outdated: %s", len(claims), error)
        return {}


def _unproven(named: Sequence[Claim]) -> list[Claim]:
    if not named:
        return []
    try:
        in_log = gate.guarded(lambda: pending.acknowledged([claim.request_id for claim in named]))
    except GateUnavailable:
        in_log = set()
    unproven = [claim for claim in named if claim.request_id not in in_log]
    # What is deferred outlives Redis by itself, and people ask again for as long as its coupon is paused.
    aside = deferred.among([claim.request_id for claim in unproven])
    return [claim for claim in unproven if claim.request_id not in aside]
