"""A circuit breaker for each partition: what a publish says decides whether the next one is tried.

CLOSED   records go to librdkafka.
HOLDING  an acknowledgement is overdue. New records wait here and not in librdkafka: who waits here can be
         refused for certain, while what librdkafka has may be in the log. The records that librdkafka has are
         the probe. An acknowledgement closes the circuit, and all that wait go on in their order.
OPEN     a record was not acknowledged in time, or the partition looked dead for longer than an election
         takes. What waits is refused, and so is all that comes.
PROBING  as OPEN, but one record is on its way (half-open, as others call it).

A record may be tried once it looks as if the partition could be written (``look``: leader and replicas are
there), or after a while however it looks. No clock but the monotonic one is read.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from coupons.eventlog.delivery import Delivery, NotPublished, Record

log = logging.getLogger(__name__)

#: A partition that looks dead is tried all the same after so long. Shorter, and a dead partition makes more
#: claims uncertain; longer, and one whose looks deceive refuses claims for longer.
TRY_ANYWAY_S: Final = 10.0
#: A partition counts as writable again if it looks so, and nobody was refused, for so long: a balancer that
#: sends us nobody while we are not ready would never let us find out. Shorter, and readiness flaps where only
#: a publish shows that the partition is dead; longer, and we are away for longer.
BELIEVED_AFTER_S: Final = 10.0
#: An acknowledgement counts for so long against what a look says.
_ACKNOWLEDGED_S: Final = 3.0
REFUSAL: Final = NotPublished(error="the partition takes no events now")


class State(StrEnum):
    CLOSED = "closed"
    HOLDING = "holding"
    OPEN = "open"
    PROBING = "probing"


class Way(StrEnum):
    """What becomes of a record."""

    SEND = "send"
    PROBE = "probe"  #: send it; nobody should wait long for it
    HOLD = "hold"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A record whose receipt is to be noted in ``delivery`` at ``index``."""

    record: Record
    index: int
    delivery: Delivery

    @property
    def key(self) -> tuple[int, int]:
        return id(self.delivery), self.index


@dataclass(slots=True, kw_only=True)
class _Circuit:
    state: State = State.CLOSED
    held: dict[tuple[int, int], Held] = field(default_factory=dict)  #: in the order in which they came
    overdue_since: float = 0.0  #: HOLDING: what librdkafka has is reported within the life of a record
    try_at: float = 0.0  #: OPEN: however it looks, the next record is tried then
    probe_sent_at: float = 0.0
    refused_at: float = float("-inf")
    acknowledged_at: float = float("-inf")
    promising_since: float | None = None  #: since when it looks as if it could be written
    dead_since: float = float("inf")  #: since when it looks as if it could not


class Circuits:
    """Of one topic, by partition. Thread-safe; nothing here waits.

    ``send`` passes a record to librdkafka. ``probe_lives_s``: a record is reported so late at most.
    """

    def __init__(self, *, send: Callable[[Held], None], probe_lives_s: float) -> None:
        self._send = send
        self._probe_lives_s = probe_lives_s
        self._lock = threading.Lock()
        self._circuits: dict[int, _Circuit] = {}
        self._is_silent = False  #: no broker answered when they were last asked
        self.is_calm = True  #: all are closed, and look as if they could be written: nothing need be asked

    def way(self, partition: int, held: Held) -> Way:
        """What to do with a record; one that is to be held is taken over."""
        now = time.monotonic()
        with self._lock:
            circuit = self._of(partition)
            if circuit.state is State.CLOSED:
                return Way.SEND
            if circuit.state is State.HOLDING and now < circuit.overdue_since + self._probe_lives_s:
                held.delivery.put_off(held.index)
                circuit.held[held.key] = held
                return Way.HOLD
            if self._may_try(circuit, now):
                circuit.state = State.PROBING
                circuit.probe_sent_at = now
                return Way.PROBE
            circuit.refused_at = now
            return Way.REFUSE

    def overdue(self, partitions: Collection[int]) -> None:
        """A record of each of these was not acknowledged as soon as usual."""
        with self._lock:
            for partition in partitions:
                circuit = self._of(partition)
                if circuit.state is State.CLOSED:
                    circuit.state, circuit.overdue_since = State.HOLDING, time.monotonic()
            self._note_calm()

    def acknowledged(self, partition: int) -> None:
        """A record is in the log. Runs in librdkafka's callback too."""
        with self._lock:
            circuit = self._of(partition)
            if circuit.state in (State.OPEN, State.PROBING):
                log.warning("partition %d takes events again", partition)
            circuit.state = State.CLOSED
            circuit.acknowledged_at = time.monotonic()
            waiting, circuit.held = circuit.held, {}
            self._note_calm()
        for each in waiting.values():
            self._send(each)

    def failed(self, partition: int, *, sent_at: float) -> bool:
        """A record was not acknowledged in time.

        Returns whether that is strange: it looked all the time as if the partition could be written. Runs in
        librdkafka's callback too.
        """
        now = time.monotonic()
        with self._lock:
            circuit = self._of(partition)
            is_earlier = circuit.state is State.PROBING and sent_at < circuit.probe_sent_at
            refused = [] if is_earlier else self._open(partition, circuit, now)
            since = circuit.promising_since
        _refuse(refused)
        return since is not None and sent_at >= since

    def withdraw(self, delivery: Delivery, indices: Collection[int]) -> None:
        """Whoever waits for these records of ``delivery`` goes: what is still held is not published."""
        keys = [(id(delivery), index) for index in indices]
        with self._lock:
            gone = [
                circuit.held.pop(key)
                for circuit in self._circuits.values()
                if circuit.held
                for key in keys
                if key in circuit.held
            ]
        _refuse(gone)

    def look(self, looks: Mapping[int, bool]) -> None:
        """How each partition looks from outside: whether leader and enough replicas are there.

        One that looks dead for as long as a record lives is taken at its looks, and so is one that looks dead
        after a silence of all brokers: else the first claim that each worker gets for it would wait in vain.
        """
        was_silent, self._is_silent = self._is_silent, False
        self._take_looks(looks, was_silent=was_silent)

    def silence(self, partitions: Collection[int]) -> None:
        """No broker answers: nobody waits on, nor does who comes once one of them answers again."""
        self._take_looks(dict.fromkeys(partitions, False), was_silent=False)
        self._is_silent = True
        self._refuse_held()

    def _take_looks(self, looks: Mapping[int, bool], *, was_silent: bool) -> None:
        now = time.monotonic()
        with self._lock:
            for partition, is_promising in looks.items():
                circuit = self._of(partition)
                if is_promising:
                    circuit.promising_since = circuit.promising_since or now
                    circuit.dead_since = float("inf")
                    continue
                circuit.promising_since, circuit.dead_since = None, min(circuit.dead_since, now)
                dead_s = now - max(circuit.dead_since, circuit.acknowledged_at)
                is_long = dead_s >= self._probe_lives_s or (was_silent and _looks_dead(circuit, now))
                if circuit.state is State.CLOSED and is_long:
                    self._open(partition, circuit, now)
            self._note_calm()

    def renew(self) -> None:
        """The producer is made anew: no report comes for what the old one had."""
        now = time.monotonic()
        refused: list[Held] = []
        with self._lock:
            for number, circuit in self._circuits.items():
                if circuit.state is not State.CLOSED:
                    refused += self._open(number, circuit, now)
                if circuit.promising_since is not None:
                    circuit.promising_since = now
        _refuse(refused)

    def _refuse_held(self) -> None:
        now = time.monotonic()
        with self._lock:
            holding = [
                (number, each) for number, each in self._circuits.items() if each.state is State.HOLDING
            ]
            refused = [held for number, circuit in holding for held in self._open(number, circuit, now)]
        _refuse(refused)

    def refuses(self, partition: int) -> bool:
        """Whether a record would be refused now: whoever asks need not prepare it. Counts as a refusal."""
        now = time.monotonic()
        with self._lock:
            circuit = self._of(partition)
            if circuit.state not in (State.OPEN, State.PROBING) or self._may_try(circuit, now):
                return False
            circuit.refused_at = now
            return True

    def takes(self, partition: int) -> bool:
        """Whether it is worth while to prepare a record: False if the partition is known to be dead.

        A record that comes at once may be refused all the same, while another one is tried.
        """
        now = time.monotonic()
        with self._lock:
            circuit = self._of(partition)
            if circuit.state is State.PROBING and now < circuit.probe_sent_at + self._probe_lives_s:
                return False
            return not _looks_dead(circuit, now)

    def unpromising(self) -> frozenset[int]:
        """The partitions that look dead from outside: their leader, or too many replicas, do not answer."""
        now = time.monotonic()
        with self._lock:
            return frozenset(number for number, each in self._circuits.items() if _looks_dead(each, now))

    def dead(self) -> tuple[int, ...]:
        """The partitions that cannot be written, as far as we know."""
        now = time.monotonic()
        with self._lock:
            return tuple(sorted(number for number, each in self._circuits.items() if _is_dead(each, now)))

    def _may_try(self, circuit: _Circuit, now: float) -> bool:
        if circuit.state is State.PROBING and now < circuit.probe_sent_at + self._probe_lives_s:
            return False
        return circuit.promising_since is not None or now >= circuit.try_at

    def _of(self, partition: int) -> _Circuit:
        return self._circuits.setdefault(partition, _Circuit())

    def _open(self, partition: int, circuit: _Circuit, now: float) -> list[Held]:
        if circuit.state is not State.OPEN:
            circuit.try_at = now + TRY_ANYWAY_S
        if circuit.state in (State.CLOSED, State.HOLDING):
            log.warning("partition %d takes no events: its claims are refused", partition)
        circuit.state = State.OPEN
        refused, circuit.held = [*circuit.held.values()], {}
        if refused:
            circuit.refused_at = now
        self._note_calm()
        return refused

    def _note_calm(self) -> None:
        self.is_calm = all(
            each.state is State.CLOSED and each.promising_since is not None
            for each in self._circuits.values()
        )


def _looks_dead(circuit: _Circuit, now: float) -> bool:
    return circuit.promising_since is None and now - circuit.acknowledged_at >= _ACKNOWLEDGED_S


def _is_dead(circuit: _Circuit, now: float) -> bool:
    if now - circuit.acknowledged_at < _ACKNOWLEDGED_S:
        return False
    since = circuit.promising_since
    if circuit.state in (State.CLOSED, State.HOLDING):
        return since is None
    if since is None:
        return True
    return now - max(since, circuit.refused_at) < BELIEVED_AFTER_S


def _refuse(refused: Collection[Held]) -> None:
    for each in refused:
        each.delivery.note(each.index, REFUSAL)
