"""Changes to a started process, named by COUPON_FAULTS_PATCH: it dies, freezes, has a wrong clock, or a bug.

Words, separated by spaces: ``kill:STEP``, ``freeze:STEP``, ``clock:SECONDS:FILE``, ``bug:NAME``.
The code under test is the production code; only what is named here is another.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

#: A consumer's way from the log to the offset. The process decides one batch, and is struck in the next.
STEPS: Final = {
    "after-decode": "after decoding",
    "before-commit": "before COMMIT",
    "after-commit": "after COMMIT, before unlock",
    "after-unlock": "after unlock, before Redis is told",
    "before-offset": "after Redis was told, before the offset",
}
_STRUCK_AT_BATCH: Final = 2
#: An API worker is struck between reserving and publishing (step ``reserved``), in the middle of the rush.
_STRUCK_AT_GROUP: Final = 60


def apply(words: str) -> None:
    for word in words.split():
        kind, _, rest = word.partition(":")
        _KINDS[kind](rest)


def _struck(number: signal.Signals, *, at: int = _STRUCK_AT_BATCH) -> Callable[[], None]:
    """Sends this process the signal, once, at that passing."""
    passed = 0

    def pass_by() -> None:
        nonlocal passed
        passed += 1
        if passed == at:
            os.kill(os.getpid(), number)

    return pass_by


def _strike_at(step: str, number: signal.Signals) -> None:
    from consumer import batch
    from consumer.telling import Teller
    from coupons.claims import submitting
    from coupons.eventlog import deferred
    from coupons.issuing import deciding, failures
    from coupons.issuing.locks import coupon_locks

    pass_by = _struck(number)
    match step:
        case "after-decode":
            _act(batch, "issue_coupons", before=pass_by)
        case "before-commit":
            _act(failures, "record", after=pass_by)
        case "after-commit":
            locks = coupon_locks

            @contextmanager
            def struck_before_unlock(coupon_ids: Sequence[int]) -> Iterator[None]:
                with locks(coupon_ids):
                    yield
                    pass_by()

            _replace(deciding, "coupon_locks", struck_before_unlock)
        case "after-unlock":
            _act(Teller, "notify_gate", before=pass_by)
        case "before-offset":
            _act(batch.BatchProcessor, "process", after=pass_by)
        case "deferring":  # a coupon's events while its deciding is paused, before COMMIT
            _act(deferred, "defer", after=pass_by)
        case "resumed":  # its deferred events are taken and not decided yet, before COMMIT
            _act(deferred, "take", after=pass_by)
        case "reserved":
            _act(submitting, "publish_in_time", before=_struck(number, at=_STRUCK_AT_GROUP))
        case _:
            raise ValueError(f"there is no step {step}: choose from {', '.join(STEPS)}")


def _replace(owner: Any, name: str, function: Callable[..., Any]) -> None:
    if not hasattr(owner, name):
        raise AttributeError(f"{owner.__name__} has no {name} any more: mend dev/faults/patching.py")
    setattr(owner, name, function)


def _nothing() -> None: ...


def _act(
    owner: Any, name: str, *, before: Callable[[], None] = _nothing, after: Callable[[], None] = _nothing
) -> None:
    original = getattr(owner, name)

    def acting(*args: Any, **named: Any) -> Any:
        before()
        result = original(*args, **named)
        after()
        return result

    _replace(owner, name, acting)


def _jump_clock(rest: str) -> None:
    """The wall clock is wrong by so many seconds as long as the file is there; the monotonic one is right."""
    from django.utils import timezone

    seconds, _, file = rest.partition(":")
    mark = Path(file)
    real_time, real_time_ns, real_now = time.time, time.time_ns, timezone.now

    def offset_s() -> int:
        return int(seconds) if mark.exists() else 0

    def wrong_now() -> datetime:
        return real_now() + timedelta(seconds=offset_s())

    _replace(time, "time", lambda: real_time() + offset_s())
    _replace(time, "time_ns", lambda: real_time_ns() + offset_s() * 1_000_000_000)
    _replace(timezone, "now", wrong_now)


def _put_in_bug(name: str) -> None:
    from dev.faults import bugs

    bugs.ALL[name]()


_KINDS: Final[dict[str, Callable[[str], None]]] = {
    "kill": lambda step: _strike_at(step, signal.SIGKILL),
    "freeze": lambda step: _strike_at(step, signal.SIGSTOP),
    "clock": _jump_clock,
    "bug": _put_in_bug,
}
