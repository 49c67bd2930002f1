"""The undecided events of the log by request id, for requests that Redis knows nothing of.

However many requests ask, one thread of this process reads, at most twice a second, and only events that are
new since its last reading. An event that is in the index is answered at once: the caller asked the database
just before, so the event is undecided. "Not found" counts only after a reading that began after the question,
because a request may have been accepted in between. A caller that waits for a reading waits in the loop.
"""

from __future__ import annotations

import struct
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from django.db import close_old_connections

from coupons.eventlog import backlog
from coupons.eventlog.backlog import LogUnavailable, Positions
from coupons.eventlog.events import CouponIssueEvent, IssueRequest
from coupons.eventlog.place import FirstOffset, NextOffset, Place
from coupons.eventlog.producer import event_producer
from runtime import database_roles, greenlets

#: Readings begin so far apart at least. Shorter, and a crowd that asks for unknown ids keeps the broker busy;
#: longer, and each answer of "not found" comes later by as much.
_BETWEEN_READINGS_S: Final = 0.5
#: For the partitions' positions, and for each next message. Longer, and a broker that hangs uses up the
#: patience of the callers; shorter, and a slow one is taken for one that is away.
_TIMEOUT_S: Final = 3.0
_PATIENCE_S: Final = 6.0  #: a caller waits for a reading that is on, and for the next one: some 3 s each
#: The index is dropped after so long without a question: a million entries take some 200 MB. Shorter, and the
#: next question reads the whole backlog again.
FORGOTTEN_AFTER_S: Final = 60.0
#: A count is so old at most; a position that is older causes a reading, of which the next caller has the use.
FRESH_S: Final = 1.0
_EVENT: Final = struct.Struct("<qqqq")  #: coupon, user, time, offset


@dataclass(slots=True, kw_only=True)
class _Partition:
    start: NextOffset  #: ``events`` holds every undecided event from here
    following: NextOffset  #: to here
    next_to_decide: NextOffset
    events: dict[bytes, bytes] = field(default_factory=dict)  #: by request id, in log order


@dataclass(slots=True, kw_only=True)
class _Question:
    answered: threading.Event | greenlets.LoopEvent
    error: Exception | None = None


class UndecidedIndex:
    """Asked from any thread, and from the loop, where the greenlet sleeps. Its own thread reads the log."""

    def __init__(self) -> None:
        self._partitions: dict[int, _Partition] = {}
        self._of_coupon: Counter[int] = Counter()
        self._lock = threading.Lock()
        self._asked = threading.Condition(self._lock)
        self._questions: list[_Question] = []
        self._thread: threading.Thread | None = None
        self._began_at = float("-inf")

    def find(
        self, request_id: UUID, *, may_see: Callable[[int | None], bool] = lambda user_id: True
    ) -> tuple[IssueRequest, int] | None:
        """The request, and how many events are ahead of it. Raises LogUnavailable.

        None for the request of a user whom ``may_see`` does not want, as late as for one that is not there.
        """

        def seen() -> tuple[IssueRequest, int] | None:
            found = self._found(request_id)
            return found if found is not None and may_see(found[0].event.user_id) else None

        found = seen()
        if found is None:
            self._wait_for_reading()
            return seen()
        if time.monotonic() - self._began_at > FRESH_S:
            self._ask()  # the request's position has changed: the next caller gets the new one
        return found

    def count(self, coupon_id: int) -> int:
        """How many events of this coupon are undecided. Raises LogUnavailable."""
        if time.monotonic() - self._began_at > FRESH_S:
            self._wait_for_reading()
        return self._of_coupon[coupon_id]

    def _found(self, request_id: UUID) -> tuple[IssueRequest, int] | None:
        for number, partition in list(self._partitions.items()):
            packed = partition.events.get(request_id.bytes)
            if packed is not None:
                coupon_id, user_id, timestamp_ms, offset = _EVENT.unpack(packed)
                event = CouponIssueEvent(
                    request_id=request_id, user_id=user_id, coupon_id=coupon_id, timestamp_ms=timestamp_ms
                )
                request = IssueRequest(event=event, place=Place(number, offset))
                return request, max(0, offset - partition.next_to_decide)
        return None

    def _wait_for_reading(self) -> None:
        """Wait for a reading that begins after now."""
        if event_producer().is_down:
            raise LogUnavailable("the broker does not answer")
        question = self._ask()
        if not question.answered.wait(_PATIENCE_S):
            raise LogUnavailable("the events could not be read in time")
        if question.error is not None:
            raise question.error

    def _ask(self) -> _Question:
        question = _Question(answered=greenlets.event())
        with self._lock:
            self._questions.append(question)
            if self._thread is None:
                self._thread = threading.Thread(target=self._read_while_asked, name="undecided", daemon=True)
                self._thread.start()
            self._asked.notify()
        return question

    def _read_while_asked(self) -> None:
        """Run in the index's own thread, which ends and drops the index when nobody has asked for a while."""
        while True:
            with self._lock:
                if not self._questions and not self._asked.wait(FORGOTTEN_AFTER_S):
                    self._thread = None
                    self._forget()
                    return
            time.sleep(max(0.0, self._began_at + _BETWEEN_READINGS_S - time.monotonic()))
            with self._lock:
                questions, self._questions = self._questions, []
            began_at, error = time.monotonic(), self._reading_failed()
            if error is None:
                self._began_at = began_at
            for question in questions:
                question.error = error
                question.answered.set()

    def _reading_failed(self) -> Exception | None:
        try:
            close_old_connections()
            with database_roles.watched():  # an old primary's positions would call decided events undecided
                self._read()
        except LogUnavailable as error:
            return error
        except Exception as error:  # noqa: BLE001 - raised in the callers that asked
            self._forget()
            return error
        return None

    def _read(self) -> None:
        at = backlog.positions(timeout_s=_TIMEOUT_S)
        for gone in self._partitions.keys() - at.keys():
            self._drop(gone)
        for number, position in at.items():
            self._follow(number, position)
        unread = {
            number: Positions(
                first=FirstOffset(part.following), next_to_decide=part.next_to_decide, end=at[number].end
            )
            for number, part in self._partitions.items()
        }
        for place, request in backlog.read_all(unread, patience_s=_TIMEOUT_S):
            self._add(place, request)

    def _follow(self, number: int, at: Positions) -> None:
        """Drop decided events of a partition; drop all of them where the database or the topic went back."""
        start = NextOffset(max(at.first, at.next_to_decide))
        part = self._partitions.get(number)
        if part is not None and (start < part.start or at.end < part.following):
            self._drop(number)
            part = None
        if part is None:
            part = self._partitions[number] = _Partition(
                start=start, following=start, next_to_decide=at.next_to_decide
            )
        decided = []
        for request_id, packed in part.events.items():
            if _EVENT.unpack(packed)[3] >= start:
                break
            decided.append(request_id)
        for request_id in decided:
            self._of_coupon[_EVENT.unpack(part.events.pop(request_id))[0]] -= 1
        part.start, part.following = start, max(start, part.following)
        part.next_to_decide = at.next_to_decide

    def _add(self, place: Place, request: IssueRequest | None) -> None:
        part = self._partitions[place.partition]
        part.following = place.following
        if request is not None and (event := request.event).request_id.bytes not in part.events:
            part.events[event.request_id.bytes] = _EVENT.pack(
                event.coupon_id, event.user_id, event.timestamp_ms, place.offset
            )
            self._of_coupon[event.coupon_id] += 1

    def _drop(self, number: int) -> None:
        for packed in self._partitions.pop(number).events.values():
            self._of_coupon[_EVENT.unpack(packed)[0]] -= 1

    def _forget(self) -> None:
        self._partitions = {}
        self._of_coupon = Counter()
        self._began_at = float("-inf")


index = UndecidedIndex()
