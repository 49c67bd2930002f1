"""Claims that wait in one worker at the same moment are submitted together.

A gunicorn worker answers its connections in one loop of greenlets (runtime/gunicorn_worker.py). A claim waits
while a greenlet submits all claims that wait: one database query, one Redis call, publishes that travel
together. The busier the worker, the larger the batch, the cheaper the claim.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Final
from uuid import UUID

import gevent
from gevent.event import Event

from coupons import measures
from coupons.claim import Claim
from coupons.claims import doomed, limiting, screening, submitting
from coupons.claims.doomed import Doomed
from coupons.claims.limiting import Counted
from coupons.claims.screening import Refused
from coupons.claims.submitting import Answer
from coupons.claims.waiting import Waiting
from coupons.claims.warming import Warming
from coupons.figures.counting import desk as figures
from coupons.figures.refusals import desk as refusals
from coupons.outcomes import Code
from runtime import for_life, metrics
from runtime.chunks import in_chunks
from runtime.database_watch import DatabaseAwayError, watch
from runtime.short_sleep import ShortSleep

log = logging.getLogger(__name__)

#: Claims in a batch. Fewer, and a busy worker pays more round trips for each claim; more, and the first claim
#: of a batch waits longer for the last one's screening.
MOST_AT_ONCE: Final = 1000
#: Claims whose gates were just loaded, in one batch. A crowd that waited for a thousand gates goes on at
#: once: more, and claims on other coupons wait for all of it; fewer, and the crowd waits longer.
_WARMED_AT_ONCE: Final = 100
_WARMED_EVERY_S: Final = 0.01
#: After the first claim came, a batch waits for others, until none came for so long, or for so many times as
#: long. A crowd that was answered together claims together: without it the first one is a batch of its own,
#: and all others wait for that. Longer, and all of them wait for nothing.
_QUIET_S: Final = 0.0002
_MOST_QUIET: Final = 8
#: After a batch is screened, the next one waits for its publishing, but no longer than this. Shorter, and
#: batches are small; longer, and a slow broker holds up claims that could be screened meanwhile.
_PACE_S: Final = 0.003
#: While a batch is screened, we look so often for claims that must not wait for its end. Longer, and they are
#: answered later by as much; shorter, and a slow database keeps the loop busy.
_LOOK_EVERY_S: Final = 0.1
#: A screening that takes longer makes us ask whether the database is away. Shorter, and a busy one is asked
#: for nothing; longer, and claims wait for longer until they are refused at once.
SLOW_S: Final = 0.5


class Gathering:
    """Belongs to the loop of the thread that makes it. All methods run in that loop."""

    def __init__(self) -> None:
        self._loop = gevent.get_hub().loop
        self._waiting: list[Waiting] = []
        self._claims_wait = Event()
        self._doomed = Doomed(self._refuse)
        self._warming = Warming(go_on=self._go_on, refuse=self._refuse, fail=self._fail)
        for_life.spawn(self._run)

    def submit(
        self, claim: Claim, answer: Callable[[Answer | Exception], None], counted: Counted | None = None
    ) -> None:
        """Let the claim wait for its batch. ``answer`` gets the answer, or what submitting the batch raised;
        nothing, where a limit refuses the claim (``counted``).

        Called in the loop or its hub, and so is ``answer``, which must not wait. While the database is away
        the claim is refused at once.
        """
        waiting = Waiting(claim, answer, counted)
        if watch.is_away:
            _refuse_without_database([waiting])
            return
        self._waiting.append(waiting)
        self._claims_wait.set()

    def _run(self) -> None:
        """Submit one batch after the other: while one is under way, the next one grows."""
        with closing(ShortSleep()) as sleep:
            while True:
                self._claims_wait.wait()
                self._gather(sleep)
                self._submit_next()

    def _gather(self, sleep: Callable[[float], None]) -> None:
        for _ in range(_MOST_QUIET):
            before = len(self._waiting)
            sleep(_QUIET_S)
            if len(self._waiting) == before:
                return

    def _submit_next(self) -> None:
        self._refuse_late()
        batch, self._waiting = self._waiting[:MOST_AT_ONCE], self._waiting[MOST_AT_ONCE:]
        if not self._waiting:
            self._claims_wait.clear()
        if not batch:
            return
        metrics.CLAIM_GROUP_SIZE.observe(len(batch))
        is_screened = Event()
        under_way = gevent.spawn(self._submit, batch, is_screened)
        self._look_after(is_screened)
        under_way.join(_PACE_S)

    def _look_after(self, is_screened: Event) -> None:
        """Until the batch is screened, refuse claims that must not wait for that."""
        began = time.monotonic()
        while not is_screened.wait(_LOOK_EVERY_S):
            if time.monotonic() - began >= SLOW_S:
                self._suspect_database()
            self._refuse_late()
            self._doomed.refuse_late()

    def _suspect_database(self) -> None:
        """Refuse what waits if the database is away; a claim that is being screened waits for its timeout."""
        watch.suspect()
        if watch.is_away:
            waiting, self._waiting = self._waiting, []
            self._claims_wait.clear()
            self._loop.run_callback(_refuse_without_database, waiting)

    def _refuse_late(self) -> None:
        """Refuse those whose time is over before their screening begins: the database is slow, not away."""
        if self._waiting and self._waiting[0].is_over:  # the oldest are in front
            late = [each for each in self._waiting if each.is_over]
            self._leave(late)
            self._loop.run_callback(_refuse_without_database, late)
        if late := doomed.late_among(self._waiting):
            self._leave(late)
            self._refuse(late)

    def _leave(self, late: Sequence[Waiting]) -> None:
        gone = set(late)
        self._waiting = [each for each in self._waiting if each not in gone]

    def _submit(self, batch: list[Waiting], is_screened: Event) -> None:
        try:
            batch = _within_limits(batch)
            if not batch:
                return
            claims = [each.claim for each in batch]
            dead = submitting.dead_coupons(claims)
            self._doomed.begin(batch, dead)
            screened = self._doomed.without_told(screening.screen(claims, dead))
            batch = self._doomed.end(batch)
            if screened.cold:
                batch = self._set_aside(batch, screened.cold)
            is_screened.set()
            arrived = {each.claim.request_id: each.since for each in batch}
            for answers in submitting.publish(screened, arrived):
                answered, batch = _split(batch, answers)
                self._loop.run_callback(_wake, answered, answers)
        except Exception as error:
            self._fail(batch if is_screened.is_set() else self._doomed.end(batch), error)
            if not isinstance(error, screening.DATABASE_AWAY):
                raise  # a bug: gevent prints it
        finally:
            is_screened.set()

    def _set_aside(self, batch: list[Waiting], cold: Sequence[Claim]) -> list[Waiting]:
        """Let the cold claims wait for their gates; returns the other claims, which go on."""
        aside = {claim.request_id for claim in cold}
        self._warming.take([each for each in batch if each.claim.request_id in aside])
        return [each for each in batch if each.claim.request_id not in aside]

    def _fail(self, waiting: Sequence[Waiting], error: Exception) -> None:
        self._loop.run_callback(_fail, waiting, error)
        if isinstance(error, screening.DATABASE_AWAY):
            watch.suspect()

    def _go_on(self, waiting: Sequence[Waiting]) -> None:
        """Put claims whose gates are loaded at the head of the next batches, ahead of later claims."""
        for some in in_chunks(waiting, _WARMED_AT_ONCE):
            self._waiting[:0] = [replace(each, was_loaded=True) for each in some]
            self._claims_wait.set()
            gevent.sleep(_WARMED_EVERY_S)

    def _refuse(self, waiting: Sequence[Waiting]) -> None:
        if waiting:
            answers = submitting.refused(each.claim for each in waiting)
            self._loop.run_callback(_wake, waiting, answers)


def _within_limits(batch: list[Waiting]) -> list[Waiting]:
    """The claims that go on. One whose gate was loaded meanwhile has paid before."""
    go_on = limiting.within([None if each.was_loaded else each.counted for each in batch])
    return [each for each, goes_on in zip(batch, go_on, strict=True) if goes_on]


def _split(batch: list[Waiting], answers: Mapping[UUID, Answer]) -> tuple[list[Waiting], list[Waiting]]:
    """Those that have an answer, and those that wait on."""
    if len(answers) == len(batch):
        return batch, []
    answered = [each for each in batch if each.claim.request_id in answers]
    return answered, [each for each in batch if each.claim.request_id not in answers]


def _wake(batch: Sequence[Waiting], answers: Mapping[UUID, Answer]) -> None:
    """In the hub: no greenlet is switched to for an answer."""
    _count(batch, [outcome_of(answers[each.claim.request_id]) for each in batch])
    for each in batch:
        _answer(each, answers[each.claim.request_id])


def _fail(batch: Sequence[Waiting], error: Exception) -> None:
    _count(batch, [Code.INTERNAL_ERROR.value] * len(batch))
    for each in batch:
        _answer(each, error)


def _answer(waiting: Waiting, answer: Answer | Exception) -> None:
    """What goes wrong with one answer must not keep the others of its batch from theirs: they have no end."""
    try:
        waiting.answer(answer)
    except Exception:
        log.exception("a claim of coupon %s cannot be answered", waiting.claim.coupon_id)


def _refuse_without_database(waiting: Sequence[Waiting]) -> None:
    """In the hub."""
    _fail(waiting, DatabaseAwayError("the database did not answer a moment ago"))


def _count(batch: Sequence[Waiting], outcomes: Sequence[str]) -> None:
    """For the whole batch at once, which costs a tenth of counting each claim. ``outcomes``: one for each."""
    try:
        _count_each(batch, outcomes)
    except Exception:  # as where a file of metrics cannot be made: people wait for their answers
        log.exception("%d claims are not counted", len(batch))


def _count_each(batch: Sequence[Waiting], outcomes: Sequence[str]) -> None:
    now = time.monotonic()
    seconds = [now - each.since for each in batch]
    metrics.observe_each(metrics.CLAIM_SECONDS, seconds)
    counts = figures.answered([each.claim.coupon_id for each in batch], outcomes, seconds)
    measures.claims_answered(counts)
    refusals.answered((each.claim for each in batch), outcomes)


def outcome_of(answer: Answer) -> str:
    """As the metrics have it: ACCEPTED, or the code of a refusal."""
    return answer.code.value if isinstance(answer, Refused) else measures.ACCEPTED


_gathering: Gathering | None = None


def start() -> None:
    """From now on this process gathers claims. Call it in a worker, in the thread of its loop."""
    global _gathering
    _gathering = Gathering()


def submit(
    claim: Claim, answer: Callable[[Answer | Exception], None], counted: Counted | None = None
) -> None:
    """Have the claim answered, in a batch with the claims that wait beside it if this process gathers.

    In a worker ``answer`` is called later, in the loop's hub. Elsewhere this blocks its thread until it was
    called, or raises what submitting raised.
    """
    if _gathering is not None:
        _gathering.submit(claim, answer, counted)
        return
    waiting = Waiting(claim, answer)
    [answered] = submitting.submit([claim])
    _wake([waiting], {claim.request_id: answered})
