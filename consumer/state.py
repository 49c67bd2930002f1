"""The state of the consumer's loop, as health shows it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from runtime import metrics


@dataclass(slots=True, kw_only=True)
class LoopState:
    """The state that health shows. Only the loop's thread writes it; other threads read it.

    ``has_joined``: the group assigned partitions, and their positions are known. ``waiting_since``: since
    then there is something to decide, and nothing was decided.
    """

    turned_at: float = field(default_factory=time.monotonic)
    has_joined: bool = False
    partitions: tuple[int, ...] = ()
    stuck: dict[int, str] = field(default_factory=dict)
    waiting_since: float | None = None
    retrying_since: float | None = None
    retry_cause: str | None = None
    oldest_undecided_ms: int | None = None
    #: coupons whose events are deferred, each with what health says of it (``consumer/resuming.py``)
    deferring: dict[int, str] = field(default_factory=dict)
    resume_fails_since: float | None = None
    resume_failure: str | None = None

    def waits(self) -> None:
        self.waiting_since = self.waiting_since or time.monotonic()

    def retries(self, cause: str) -> None:
        self.retrying_since = self.retrying_since or time.monotonic()
        self.retry_cause = cause

    def goes_on(self) -> None:
        self.waiting_since = self.retrying_since = self.retry_cause = None

    def cannot_resume(self, cause: str) -> None:
        """Deferred events whose deciding was resumed could not be decided; they are tried again."""
        self.resume_fails_since = self.resume_fails_since or time.monotonic()
        self.resume_failure = cause

    def resumes(self) -> None:
        self.resume_fails_since = self.resume_failure = None

    def retrying_s(self) -> float:
        """For how long a batch, or resumed events, have been tried again and again."""
        return max(_seconds_since(self.retrying_since), _seconds_since(self.resume_fails_since))

    def show_in_metrics(self) -> None:
        """From now on the metrics ask this state, in whichever thread reads them."""
        metrics.OLDEST_UNDECIDED_SECONDS.set_function(self.oldest_undecided_s)
        metrics.STALLED_SECONDS.set_function(lambda: _seconds_since(self.waiting_since))
        metrics.RETRYING_SECONDS.set_function(self.retrying_s)
        metrics.PARTITIONS_STUCK.set_function(lambda: len(self.stuck))

    def oldest_undecided_s(self) -> float:
        """The age of the oldest event in hand, by this machine's clock. Any thread may ask."""
        oldest_ms = self.oldest_undecided_ms
        return 0.0 if oldest_ms is None else max(0.0, time.time() - oldest_ms / 1000)


def _seconds_since(moment: float | None) -> float:
    return 0.0 if moment is None else time.monotonic() - moment
