"""The work of one consumer of the group beside the log: free slots, mend gates, watch (``watch.py``)."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import redis_lock
from django.conf import settings
from django.db import Error as DatabaseLayerError
from django.db import connection
from django_redis import get_redis_connection
from redis.exceptions import RedisError

from consumer.watch import Watch
from coupons.claim import Claim
from coupons.eventlog.backlog import LogUnavailable
from coupons.figures import refusals
from coupons.figures.counting import desk as figures
from coupons.gate import catching_up, disclosed
from coupons.gate.admission import GateUnavailable
from coupons.gate.catching_up import CatchingUp
from coupons.gate.leaked_slots import LeakSearch, Turns
from coupons.operations import rehearsals
from coupons.outcomes import DeadLetterReason
from runtime import database_roles
from runtime.actuator import Component

log = logging.getLogger(__name__)

#: NotAcquired: Redis forgot our turn, as after FLUSHALL.
_TRANSIENT: Final = (GateUnavailable, LogUnavailable, DatabaseLayerError, RedisError, redis_lock.NotAcquired)
#: Between two steps of a round, and between rounds. Longer, and gates catch up later; shorter, and it keeps
#: broker and database busy. It must be well below _TURN_EXPIRES_S.
STEP_S: Final = 2.0
#: A consumer that died or lost Redis keeps the others from housekeeping for so long. Shorter than a step may
#: take (the broker's timeouts are 5 s each), and two consumers keep house at once, which costs work; longer,
#: and leaked slots wait.
_TURN_EXPIRES_S: Final = 20


class Housekeeper:
    """A thread of its own that runs until it is stopped. While a server is away it waits, and never fails.

    Only this thread takes steps; other threads may call ``health`` and ``partitions_came``.
    """

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._catching_up = CatchingUp()
        self._turns = Turns()
        self._watch = Watch()
        self._failure = ""
        self._partitions_came = threading.Event()
        self._thread = threading.Thread(target=self._run, name="housekeeping", daemon=True)

    def health(self) -> Component:
        """DOWN if the thread died or its last round failed, which nothing else shows. From any thread."""
        details = {"error": self._failure} if self._failure else {}
        return Component(is_up=self._thread.is_alive() and not self._failure, details=details)

    def partitions_came(self) -> None:
        """Have decided reservations freed at once: the partitions' last consumer may have left some.

        Called in the loop's thread, so it only sets an event.
        """
        self._partitions_came.set()

    @contextmanager
    def running(self) -> Iterator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self._stop.set()
            self._partitions_came.set()
            self._thread.join(STEP_S + 10)

    def _run(self) -> None:
        while not self._stop.is_set():
            self._partitions_came.wait(STEP_S)
            try:
                with database_roles.watched():
                    self._free_decided()
                    self._take_a_turn()
                self._failure = ""
            except _TRANSIENT as error:
                log.info("housekeeping waits: %s", error)
                connection.close()
                self._stop.wait(STEP_S)
            except Exception as error:  # shown in health and logged; without the thread leaked slots stay
                self._failure = f"{type(error).__name__}: {error}"
                log.exception("housekeeping failed, and tries again")
                connection.close()
                self._stop.wait(STEP_S)

    def _take_a_turn(self) -> None:
        """One round, if no other consumer of the group has the turn."""
        with taking_turn() as turn:
            if turn is None:
                self._watch.rest()
                return
            search = LeakSearch(self._turns, tell=_note)
            disclosed.forget_decided()
            refusals.forget_old()
            rehearsals.forget_late()
            self._catch_up()
            while search.advance() is None and not self._stop.wait(STEP_S):
                turn.extend()
                database_roles.look()
                self._catch_up()  # a gate must not be behind for a whole round

    def _free_decided(self) -> None:
        """Free decided reservations without a turn: the turn may still be a dead consumer's."""
        if self._partitions_came.is_set():
            self._partitions_came.clear()
            database_roles.look()
            try:
                catching_up.free_decided()
            except BaseException:
                self._partitions_came.set()  # try again
                raise

    def _catch_up(self) -> None:
        """The steps that must not wait for the end of a round."""
        try:
            self._free_decided()
            self._catching_up.look()
        except (GateUnavailable, LogUnavailable) as error:
            log.info("gates are not looked at: %s", error)
        self._watch.look()


def _note(ended: Sequence[tuple[Claim, str]]) -> None:
    """For support and the event's figures: users were told yes, perhaps, and no event of theirs is there."""
    refusals.desk.decided(ended)
    lost = DeadLetterReason.EVENT_LOST
    figures.decided((claim.coupon_id, "FAILED" if reason == lost else reason) for claim, reason in ended)


class Turn:
    """The turn to keep house, which must be renewed. Without Redis every consumer has it, without harm."""

    def __init__(self) -> None:
        # By group: another group must not wait for ours. A hash tag, for the lock's two keys.
        name = f"{{coupon-housekeeping:{settings.CONFIG.kafka.group_id}}}"
        self._lock = redis_lock.Lock(get_redis_connection("locks"), name, expire=_TURN_EXPIRES_S)
        self._is_held = False

    def take(self) -> bool:
        try:
            self._is_held = self._lock.acquire(blocking=False)
        except RedisError as error:
            log.info("Redis does not answer or is full, housekeeping goes on without a turn: %s", error)
            return True
        return self._is_held

    def extend(self) -> None:
        if self._is_held:
            self._lock.extend(_TURN_EXPIRES_S)

    def release(self) -> None:
        if self._is_held:
            self._lock.release()


@contextmanager
def taking_turn() -> Iterator[Turn | None]:
    """The turn; None if another consumer has it."""
    turn = Turn()
    if not turn.take():
        yield None
        return
    try:
        yield turn
    finally:
        turn.release()
