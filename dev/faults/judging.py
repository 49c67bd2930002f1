"""After the fault: let the system settle, then hold it to its promises."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from django.db import connection

from coupons.gate.admission import GateUnavailable, gate
from coupons.models import Coupon, UserCoupon
from coupons.operations.verification.findings import Check
from dev import suite
from dev.faults import log, waits
from dev.faults.rush import Answer, Client
from dev.faults.scene import Scene
from dev.faults.table import Row
from dev.processes import wait_until

_RUSH_S: Final = 150.0
_FINAL: Final = ("ISSUED", "REJECTED", "FAILED")


def settle(scene: Scene) -> None:
    """Everybody's last word, then more claimants until sold out, then nothing under way. All bounded."""
    scene.expect(scene.rush.finish(within_s=_RUSH_S), "some users never had a last word")
    _sell_out(scene)
    decided = log.wait_decided(within_s=scene.case.settle_s)
    scene.expect(decided, "the log was not decided to its end")
    wait_until(lambda: _is_gate_at_rest(scene), within_s=scene.case.settle_s, every_s=0.5)


def _sell_out(scene: Scene) -> None:
    """Slots of claims that died on their way come back after a while: somebody takes them."""
    client, late = Client(scene.api.port), scene.late_users()
    deadline = time.monotonic() + scene.case.settle_s
    while scene.stock_left() > 0 and time.monotonic() < deadline:
        if (user := next(late, None)) is None:
            break
        answer = client.claim(scene.coupon_id, user)
        scene.rush.answers.append(answer)
        if not answer.is_accepted:
            time.sleep(0.5)
    client.close()


def judge(scene: Scene, *, recovered_s: float | None) -> Row:
    """Compare the clients' record, the database, the gate and ``manage.py verify``."""
    answers = list(scene.rush.answers)
    statuses = _statuses(scene)
    scene.case.demands(scene)
    scene.expect(recovered_s is not None, "what was accepted before the fault's end was not decided in time")
    complaints = list(scene.notes)
    lost = _lost(answers, statuses, scene.written_ids, gone=set(scene.gone_ids))
    complaints += [f"lost: {each}" for each in lost[:5]]
    connection.close()
    held = Counter(UserCoupon.objects.filter(coupon_id=scene.coupon_id).values_list("user_id", flat=True))
    issued = held.total()
    issued_twice = _issued_twice(answers, statuses)
    reserved = _reserved(scene)
    if issued != scene.stock:
        complaints.append(f"{issued} issued of a stock of {scene.stock}")
    words = ("--from-topic", "--coupon", str(scene.coupon_id))
    complaints += suite.verified(
        scene.system,
        *words,
        within_s=180,
        may_note=scene.case.may_note,
        may_find=lambda finding: _is_expected(finding, scene),
    )
    return Row(
        name=scene.case.name,
        what=scene.case.what,
        requests=len(answers),
        accepted=sum(answer.is_accepted for answer in answers),
        refused=sum(answer.is_last_word and not answer.is_accepted for answer in answers),
        issued=issued,
        lost=len(lost),
        doubled=(issued - len(held)) + len(issued_twice) + max(0, issued - scene.stock),
        leaked=max(0, scene.stock - issued) + reserved,
        refused_s=waits.longest_refused(answers),
        longest_s=waits.longest(answers),
        recovered_s=recovered_s,
        bug_shows_in=scene.case.bug_shows_in,
        complaints=complaints,
        unexpected=scene.notes,
    )


def _statuses(scene: Scene) -> dict[str, tuple[str, str]]:
    """By the status route: status and reason of every request that anybody was told of."""
    ids = sorted(scene.rush.told_ids | set(scene.written_ids))
    found: dict[str, tuple[str, str]] = {}

    def ask(request_id: str) -> tuple[str, tuple[str, str]]:
        answer = scene.system.status(request_id)
        body = answer.body if isinstance(answer.body, dict) else {}
        return request_id, (str(body.get("status") or f"HTTP {answer.status}"), str(body.get("reason") or ""))

    def are_final() -> bool:
        open_ids = [each for each in ids if each not in found or found[each][0] not in _FINAL]
        with ThreadPoolExecutor(8) as pool:
            found.update(pool.map(ask, open_ids))
        return all(found[each][0] in _FINAL for each in ids)

    wait_until(are_final, within_s=scene.case.settle_s, every_s=0.5)
    return found


def _lost(
    answers: list[Answer], statuses: dict[str, tuple[str, str]], written: list[str], *, gone: set[str]
) -> list[str]:
    """Requests without a final outcome, and accepted ones decided as if they had never been sent.

    Whose event is ``gone`` for certain must be told just that.
    """
    lost = [f"{each}: {status}" for each, (status, _) in statuses.items() if status not in _FINAL]
    promised = [a.request_id for a in answers if a.is_accepted and a.request_id is not None] + written
    for request_id in promised:
        status, reason = statuses[request_id]
        if request_id in gone and (status, reason) == ("FAILED", "EVENT_LOST"):
            continue
        if status == "FAILED" or reason == "BROKER_UNAVAILABLE":
            lost.append(f"{request_id}: accepted, then {status} {reason}")
    lost += [
        f"user {a.user_id} was told 202 without a request id"
        for a in answers
        if a.is_accepted and not a.request_id
    ]
    return lost


def _issued_twice(answers: list[Answer], statuses: dict[str, tuple[str, str]]) -> list[int]:
    """Users two of whose requests were told ISSUED."""
    won = {
        (a.user_id, a.request_id) for a in answers if a.request_id and statuses[a.request_id][0] == "ISSUED"
    }
    return [user for user, times in Counter(user for user, _ in won).items() if times > 1]


def _reserved(scene: Scene) -> int:
    try:
        return gate.reserved(scene.coupon_id) or 0
    except GateUnavailable:
        return 1  # not known is not none; asked again while there is time


def _is_gate_at_rest(scene: Scene) -> bool:
    """Nothing reserved, and it was told of everything that was issued."""
    try:
        state = gate.state(scene.coupon_id)
    except GateUnavailable:
        return False
    connection.close()
    issued = Coupon.objects.values_list("issued_count", flat=True).get(pk=scene.coupon_id)
    return state is None or (not state.reservations and state.issued == issued)


def _is_expected(finding: Mapping[str, str], scene: Scene) -> bool:
    if finding["check"] == Check.OUTCOME_HAS_EVENT:
        return finding["request_id"] in scene.missing_ids
    return bool(scene.case.may_find) and scene.case.may_find in finding["message"]
