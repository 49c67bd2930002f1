"""What one consumer of the group does beside the log: free leaked slots, tell gates what they missed."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import redis_lock
from django.conf import settings
from django.db import Error as DatabaseLayerError
from django.db import close_old_connections, connection
from django_redis import get_redis_connection
from redis.exceptions import RedisError

from coupons.eventlog.backlog import LogUnavailable
from coupons.gate import catching_up, disclosed
from coupons.gate.admission import GateUnavailable
from coupons.gate.catching_up import CatchingUp
from coupons.gate.leaked_slots import LeakSearch
from runtime.actuator import Component

log = logging.getLogger(__name__)

#: NotAcquired: our turn was forgotten, as after FLUSHALL.
_TRANSIENT: Final = (GateUnavailable, LogUnavailable, DatabaseLayerError, RedisError, redis_lock.NotAcquired)
STEP_S: Final = 2.0  #: between two looks, and after a failure
#: A turn whose end Redis did not hear of must not last long.
_TURN_EXPIRES_S: Final = 20


class Housekeeper:
    """Runs until stopped; whatever is away makes it wait, never fail."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._catching_up = CatchingUp()
        self._failure = ""
        self._partitions_came = threading.Event()
        self._thread = threading.Thread(target=self._run, name="housekeeping", daemon=True)

    def health(self) -> Component:
        """A thread that died, or that fails at each turn, says nothing by itself."""
        details = {"error": self._failure} if self._failure else {}
        return Component(is_up=self._thread.is_alive() and not self._failure, details=details)

    def partitions_came(self) -> None:
        """From the loop's thread: whoever had them may have died before it told Redis what it decided."""
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
                self._free_decided()
                self._take_a_turn()
                self._failure = ""
            except _TRANSIENT as error:
                log.info("housekeeping waits: %s", error)
                connection.close()
                self._stop.wait(STEP_S)
            except Exception as error:  # told in health and the log; without it leaked slots stay for ever
                self._failure = f"{type(error).__name__}: {error}"
                log.exception("housekeeping failed, and tries again")
                connection.close()
                self._stop.wait(STEP_S)

    def _take_a_turn(self) -> None:
        """One round, if no other instance of the group is at it."""
        with taking_turn() as turn:
            if turn is None:
                return
            search = LeakSearch()
            disclosed.forget_decided()
            self._catch_up()
            while search.advance() is None and not self._stop.wait(STEP_S):
                turn.extend()
                close_old_connections()
                self._catch_up()  # a round lasts much longer than a gate may be behind

    def _free_decided(self) -> None:
        """At once, and whoever has the turn: it may be the dead one's still."""
        if self._partitions_came.is_set():
            self._partitions_came.clear()
            close_old_connections()
            try:
                catching_up.free_decided()
            except BaseException:
                self._partitions_came.set()  # it is still to be done
                raise

    def _catch_up(self) -> None:
        try:
            self._free_decided()
            self._catching_up.look()
        except (GateUnavailable, LogUnavailable) as error:
            log.info("gates are not looked at: %s", error)


class Turn:
    """The right to keep house, which must be renewed. Without Redis anybody has it: two do no harm."""

    def __init__(self) -> None:
        # Another group must not wait for ours.
        name = f"coupon-housekeeping:{settings.CONFIG.kafka.group_id}"
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
    """None: another one has it."""
    turn = Turn()
    if not turn.take():
        yield None
        return
    try:
        yield turn
    finally:
        turn.release()
