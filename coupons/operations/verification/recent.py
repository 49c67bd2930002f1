"""Verifies what was decided lately, again and again, at a bounded cost.

``run.py`` looks at everything and takes minutes where millions were decided. This looks at each stretch of
the log once, soon after it was decided: has every event its outcome, of that very request, are ranks in the
log's order, has each winner the coupon, do the coupon's counts agree. What it finds is looked at again until
it is mended. What an older row says, or the gate, only ``verify`` tells.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from coupons.eventlog import backlog
from coupons.eventlog.backlog import Positions
from coupons.eventlog.place import EndOffset, FirstOffset, NextOffset
from coupons.eventlog.positions import stored
from coupons.operations.verification import recent_checks
from coupons.operations.verification.findings import Check, Finding
from coupons.operations.verification.positions import look_at_topic
from coupons.operations.verification.recent_checks import Entries
from coupons.operations.verification.snapshot import snapshot

#: Events of one look, which takes 0.1 s of a core at once. More, and a rush feels it: of 10,000, half a
#: second, claims beside it waited for 0.3 s on two cores; fewer, and the looks' own cost (a client, some
#: queries) is most of it.
MOST_AT_ONCE: Final = 2_000
#: Events that are looked at again. What is beyond is told once, and not counted any more.
_MOST_AGAIN: Final = 10_000
_OF_NEIGHBOURS: Final = (Check.WINNERS_IN_LOG_ORDER, Check.TRANSACTIONS_IN_LOG_ORDER)
_PATIENCE_S: Final = 5.0  #: for the next message: housekeeping has other work


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """``findings``: what is wrong now, new and old. ``behind``: decided events that are not verified yet."""

    findings: list[Finding]
    verified: int
    behind: int


class Recent:
    """Goes along the log behind the group's positions. For one thread, which waits for log and database.

    It begins some events before the positions: what a process before it may not have looked at.
    """

    def __init__(self) -> None:
        self._at: dict[int, int] = {}
        self._topic_id = ""
        self._wrong: Entries = []

    def look(self) -> Look:
        """Verify the next events. Raises LogUnavailable or a database error, and goes on there next time."""
        topic = look_at_topic()
        # The rows come before the outcomes, so that all in front of them is decided.
        decided = {
            partition: at.next_offset for partition, at in stored().items() if partition in topic.first
        }
        if topic.topic_id != self._topic_id:
            self._at, self._wrong, self._topic_id = {}, [], topic.topic_id
        stretches = self._stretches(decided, topic.first)
        entries = [entry for partition, at in stretches.items() for entry in _read(partition, at)]
        again = [entry for entry in self._wrong if entry[0].offset >= topic.first.get(entry[0].partition, 0)]
        with snapshot():
            found = list(recent_checks.findings([*again, *entries], stretches))
        self._wrong = _those_wrong([*again, *entries], found)[:_MOST_AGAIN]
        self._at |= {partition: at.end for partition, at in stretches.items()}
        behind = sum(max(0, offset - self._at.get(each, offset)) for each, offset in decided.items())
        return Look(findings=found, verified=len(entries), behind=behind)

    def _stretches(
        self, decided: Mapping[int, int], first: Mapping[int, FirstOffset]
    ) -> dict[int, Positions]:
        """What to read of each partition where something is new. None waits for a busier one."""
        begins = {each: self._begin(each, at, first[each]) for each, at in decided.items()}
        new = sorted((at - begins[each], each) for each, at in decided.items() if at > begins[each])
        left = MOST_AT_ONCE
        stretches = {}
        for shared_by, (number, partition) in zip(range(len(new), 0, -1), new, strict=True):
            taken = min(number, left // shared_by)
            if not taken:
                continue
            left -= taken
            end = begins[partition] + taken
            stretches[partition] = Positions(
                first=FirstOffset(begins[partition]), next_to_decide=NextOffset(end), end=EndOffset(end)
            )
        return stretches

    def _begin(self, partition: int, decided: int, first: FirstOffset) -> int:
        """Where this look begins; the position may have been moved back, or the log may begin later."""
        return max(first, min(decided, self._at.get(partition, decided - MOST_AT_ONCE)))


def _read(partition: int, at: Positions) -> Entries:
    entries = []
    for place, request in backlog.read_all({partition: at}, patience_s=_PATIENCE_S):
        if place.offset >= at.end:
            break  # what follows is not decided, or comes next time
        entries.append((place, request))
        if place.following >= at.end:
            break
    return entries


def _those_wrong(entries: Entries, findings: Collection[Finding]) -> Entries:
    """The entries to look at again: those with a finding, and enough of each coupon that has one."""
    named = {each.request_id for each in findings}
    whole = {each.coupon_id for each in findings if each.check in _OF_NEIGHBOURS}
    one_of = {each.coupon_id for each in findings if each.request_id is None}
    is_letter_missing = any(each.check is Check.DEAD_LETTER_KEPT for each in findings)
    wrong: Entries = []
    for place, request in entries:
        if request is None:
            wrong += [(place, request)] if is_letter_missing else []
            continue
        coupon_id = request.event.coupon_id
        if str(request.event.request_id) in named or coupon_id in whole or coupon_id in one_of:
            one_of.discard(coupon_id)
            wrong.append((place, request))
    return wrong
