"""Mend gates from the database and the log, and give leaked slots back."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from coupons.claim import Claim
from coupons.gate import loading
from coupons.gate.admission import (
    gate,
)
from coupons.gate.leaked_slots import LeakSearch
from coupons.models import Coupon
from coupons.operations.verification.findings import Check, Finding
from coupons.operations.verification.run import gate_findings
from runtime.operator_language import say


@dataclass(slots=True, kw_only=True)
class Mended:
    """``findings``: what was wrong; the other fields: what was done, or would be in a dry run."""

    findings: list[Finding] = field(default_factory=list)
    gates_loaded: list[int] = field(default_factory=list)
    slots_given_back: list[Claim] = field(default_factory=list)
    not_mended: str | None = None


def reconcile(*, dry_run: bool, wait_s: float, on_wait: Callable[[], object]) -> Mended:
    """Compare every gate with the truth and mend it. Raises GateUnavailable, LogUnavailable.

    A leaked slot is given back when its event can no longer be on its way, which takes 18 s (twice the
    longest publish timeout) and a consumer that has caught up; ``wait_s`` bounds the wait.
    """
    mended = Mended(findings=gate_findings(list(Coupon.objects.order_by("pk"))))
    leaking = {f.coupon_id for f in mended.findings if f.check is Check.NO_LEAKED_RESERVATION}
    wrong = {f.coupon_id for f in mended.findings if f.check is not Check.NO_LEAKED_RESERVATION}
    mended.gates_loaded = sorted(pk for pk in wrong if pk is not None)
    if dry_run:
        return mended
    if leaking:
        _give_leaked_back(mended, wait_s=wait_s, on_wait=on_wait)
    # Gates come after leaked slots: a request whose slot leaked is known by its reservation alone.
    for coupon_id in mended.gates_loaded:
        gate.unload(coupon_id)  # the count as well: the operator wants the row's, even if it is lower
    _note_left_out(mended, loading.load_all(mended.gates_loaded))
    return mended


def _note_left_out(mended: Mended, left_out: Collection[int]) -> None:
    if not left_out:
        return
    mended.gates_loaded = [pk for pk in mended.gates_loaded if pk not in left_out]
    told = say(
        "the gates of {count} coupons are not loaded: the partitions of coupons {coupons} look dead, run "
        "this again when they take events",
        count=len(left_out),
        coupons=sorted(left_out)[:10],
    )
    mended.not_mended = f"{mended.not_mended}\n{told}" if mended.not_mended else told


def _give_leaked_back(mended: Mended, *, wait_s: float, on_wait: Callable[[], object]) -> None:
    deadline = time.monotonic() + wait_s
    search = LeakSearch(reserved=_leaked(mended.findings))
    while search.advance() is None:
        if time.monotonic() > deadline:
            mended.not_mended = say(
                "leaked slots are not given back: the consumer has not caught up within {wait_s:.0f} s",
                wait_s=wait_s,
            )
            break
        on_wait()
        time.sleep(0.5)
    else:
        mended.not_mended = _said_of(search.waiting)
    mended.slots_given_back = search.given_back


def _leaked(findings: Sequence[Finding]) -> list[Claim]:
    """The reservations that these findings name: each is looked after, however many others stand."""
    named = {f.request_id for f in findings if f.check is Check.NO_LEAKED_RESERVATION}
    coupon_ids = {f.coupon_id for f in findings if f.check is Check.NO_LEAKED_RESERVATION}
    return [
        claim
        for coupon_id in sorted(filter(None, coupon_ids))
        for claim in gate.reservations(limit=None, coupon_id=coupon_id)
        if str(claim.request_id) in named
    ]


def _said_of(waiting: Sequence[Claim]) -> str | None:
    if not waiting:
        return None
    return say(
        "the slots of {count} requests are not given back if they leaked: the "
        "partitions of coupons {coupons} are not decided, see `manage.py log_position "
        "show`",
        count=len(waiting),
        coupons=sorted({claim.coupon_id for claim in waiting})[:10],
    )
