"""An operator's work with dead letters: show, replay, discard."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from django.db.models import QuerySet
from django.utils import timezone

from coupons.eventlog.delivery import Acknowledged, Record
from coupons.eventlog.events import SECOND_CHANCE_HEADER
from coupons.eventlog.producer import event_producer
from coupons.models import DeadLetter, DeadLetterState
from runtime.chunks import in_chunks
from runtime.operator_language import say

#: Letters in one publish. More, and a crash replays more of them twice; fewer, and more round trips.
_AT_ONCE: Final = 200
Progress = Callable[[int], object]


class NotReplayed(RuntimeError):
    """The broker did not acknowledge; letters replayed before are marked, the others are unchanged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """A choice of dead letters: by id, by reason, or all that wait."""

    ids: Sequence[int] = ()
    reason: str | None = None

    def waiting(self) -> QuerySet[DeadLetter]:
        """The chosen letters that wait, oldest first."""
        letters = DeadLetter.objects.filter(state=DeadLetterState.WAITING).order_by("pk")
        if self.ids:
            letters = letters.filter(pk__in=self.ids)
        if self.reason:
            letters = letters.filter(reason=self.reason)
        return letters


def replay(selection: Selection, *, on_progress: Progress) -> int:
    """Publish the original events again, in their order. Returns how many. Raises NotReplayed.

    A header lets each event overrule its own outcome FAILED, and no other. A crash in the middle may
    publish some events twice: the second one finds its request decided and changes nothing.
    """
    sent = 0
    pks = list(selection.waiting().values_list("pk", flat=True))
    for some in in_chunks(pks, _AT_ONCE):
        letters = list(DeadLetter.objects.filter(pk__in=some).order_by("pk"))
        receipts = event_producer().publish([_record(letter) for letter in letters])
        done = [
            letter.pk
            for letter, receipt in zip(letters, receipts, strict=True)
            if isinstance(receipt, Acknowledged)
        ]
        _mark(done, DeadLetterState.REPLAYED)
        sent += len(done)
        on_progress(len(done))
        if len(done) < len(letters):
            raise NotReplayed(
                say(
                    "{sent} of {count} were sent, then the broker did not acknowledge",
                    sent=sent,
                    count=len(pks),
                )
            )
    return sent


def discard(selection: Selection, *, on_progress: Progress) -> int:
    """Mark letters as discarded; their outcome and the topic's copy stay. Returns how many."""
    pks = list(selection.waiting().values_list("pk", flat=True))
    for some in in_chunks(pks, _AT_ONCE):
        _mark(some, DeadLetterState.DISCARDED)
        on_progress(len(some))
    return len(pks)


def _record(letter: DeadLetter) -> Record:
    return Record(
        key=_bytes(letter.original_key),
        value=_bytes(letter.original_value),
        headers=[(SECOND_CHANCE_HEADER, str(letter.pk).encode())],
    )


def _bytes(stored: bytes | memoryview | None) -> bytes | None:
    return None if stored is None else bytes(stored)


def _mark(pks: Sequence[int], state: DeadLetterState) -> None:
    DeadLetter.objects.filter(pk__in=pks, state=DeadLetterState.WAITING).update(
        state=state, updated_at=timezone.now()
    )
