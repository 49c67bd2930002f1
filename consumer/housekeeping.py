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

from coupons import disclosed
from coupons.admission import GateUnavailable
from coupons.backlog import LogUnavailable
from coupons.gate_catching_up import CatchingUp
from coupons.reclaiming import Round
from couponsite.actuator import Component

log = logging.getLogger(__name__)

#: NotAcquired: our turn was forgotten, as after FLUSHALL.
_AWAY: Final = (GateUnavailable, LogUnavailable, DatabaseLayerError, RedisError, redis_lock.NotAcquired)
_STEP_S: Final = 2.0
#: Two at a time would do no harm; a turn whose end Redis did not hear of must not last long.
_TURN_EXPIRES_S: Final = 20


class Housekeeper:
    """Runs until stopped; whatever is away makes it wait, never fail."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._catching_up = CatchingUp()
        self._thread = threading.Thread(target=self._run, name="housekeeping", daemon=True)

    def health(self) -> Component:
        """A thread that died says nothing by itself."""
        return Component(is_up=self._thread.is_alive())

    @contextmanager
    def running(self) -> Iterator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self._stop.set()
            self._thread.join(_STEP_S + 10)

    def _run(self) -> None:
        while not self._stop.wait(_STEP_S):
            try:
                self._take_a_turn()
            except _AWAY as error:
                log.info("housekeeping waits: %s", error)
                connection.close()

    def _take_a_turn(self) -> None:
        """One round, if no other instance of the group is at it. Another group must not wait for ours."""
        name = f"coupon-housekeeping:{settings.CONFIG.kafka.group_id}"
        turn = redis_lock.Lock(get_redis_connection("locks"), name, expire=_TURN_EXPIRES_S)
        if not turn.acquire(blocking=False):
            return
        try:
            round_ = Round()
            disclosed.forget_decided()
            self._catching_up.look()
            while round_.advance() is None and not self._stop.wait(_STEP_S):
                turn.extend(_TURN_EXPIRES_S)
                close_old_connections()
                self._catching_up.look()  # a round lasts much longer than a gate may be behind
        finally:
            turn.release()
