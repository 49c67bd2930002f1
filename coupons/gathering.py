"""Claims that wait in one worker at the same moment are submitted together.

A gunicorn worker answers its connections in one loop of greenlets (couponsite/gunicorn_worker.py).
A claim's greenlet sleeps while another one submits all claims that wait: one database query, one
Redis call, publishes that travel together. The busier the worker, the larger the group, the
cheaper the claim.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final
from uuid import UUID

import gevent
from gevent.event import Event
from gevent.hub import Waiter

from coupons import requesting, screening
from coupons.admission import Claim
from coupons.requesting import Answer
from couponsite import metrics

_MOST_AT_ONCE: Final = 1000  #: claims in a group
_PACE_S: Final = 0.01  #: the next group waits for the one before, but no longer than this for its publishing

Waiting = tuple[Claim, "Waiter[Answer]"]


class Gathering:
    """Belongs to the loop of the thread that makes it. All methods run in that loop."""

    def __init__(self) -> None:
        self._loop = gevent.get_hub().loop
        self._waiting: list[Waiting] = []
        self._claims_wait = Event()
        gevent.spawn(self._run)

    def submit(self, claim: Claim) -> Answer:
        """Answer one claim. Raises what submitting its group raised."""
        waiter: Waiter[Answer] = Waiter()
        self._waiting.append((claim, waiter))
        self._claims_wait.set()
        answer: Answer = waiter.get()
        return answer

    def _run(self) -> None:
        """One group after the other: while one is under way, the next one grows."""
        while True:
            self._claims_wait.wait()
            group, self._waiting = self._waiting[:_MOST_AT_ONCE], self._waiting[_MOST_AT_ONCE:]
            if not self._waiting:
                self._claims_wait.clear()
            metrics.CLAIM_GROUP_SIZE.observe(len(group))
            is_screened = Event()
            submitting = gevent.spawn(self._submit, group, is_screened)
            is_screened.wait()
            submitting.join(_PACE_S)

    def _submit(self, group: list[Waiting], is_screened: Event) -> None:
        try:
            screened = screening.screen([claim for claim, _ in group])
            is_screened.set()
            answers = requesting.publish(screened)
        except BaseException as error:
            self._loop.run_callback(_throw, group, error)
            if not isinstance(error, screening.AWAY):
                raise  # a bug: gevent prints it
        else:
            self._loop.run_callback(_wake, group, answers)
        finally:
            is_screened.set()


def _wake(group: Sequence[Waiting], answers: Mapping[UUID, Answer]) -> None:
    for claim, waiter in group:
        waiter.switch(answers[claim.request_id])


def _throw(group: Sequence[Waiting], error: BaseException) -> None:
    for _, waiter in group:
        waiter.throw(error)


_gathering: Gathering | None = None


def start() -> None:
    """From now on this process gathers. Called in a worker, in the thread of its loop."""
    global _gathering
    _gathering = Gathering()


def submit(claim: Claim) -> Answer:
    """Answer one claim, together with those that wait beside it where this process gathers."""
    if _gathering is not None:
        return _gathering.submit(claim)
    [answer] = requesting.submit([claim])
    return answer
