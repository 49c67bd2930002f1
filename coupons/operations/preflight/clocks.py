"""How far a server's clock is from ours. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from coupons.operations.preflight.findings import Finding, red, yellow
from runtime.operator_language import say

#: Coupons open and close by the second, and a log line is laid beside another. Smaller, and clocks that are
#: kept by NTP over a slow network are found; larger, and a clock that runs away is found late.
_NOTICED_S: Final = 2.0
#: Tickets are refused as expired or not valid yet, coupons open early or late.
_WRONG_S: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A server's clock, and ours before it was asked and after it had answered. Unix seconds."""

    before: float
    server: float
    after: float

    @property
    def ahead_s(self) -> float:
        """How far the server is ahead of us, at least; below 0: behind. 0 within the time of the answer."""
        if self.server > self.after:
            return self.server - self.after
        return min(0.0, self.server - self.before)


def read(ask: Callable[[], float], *, now: Callable[[], float]) -> Reading:
    """Ask the clock that ``ask`` reads. Raises what it raises."""
    before = now()
    server = ask()
    return Reading(before=before, server=server, after=now())


def differences(name: str, reading: Reading) -> Iterator[Finding]:
    ahead_s = reading.ahead_s
    if abs(ahead_s) < _NOTICED_S:
        return
    what = (
        say("{name}'s clock is {seconds:.0f} s ahead of this machine's", name=name, seconds=ahead_s)
        if ahead_s > 0
        else say("{name}'s clock is {seconds:.0f} s behind this machine's", name=name, seconds=-ahead_s)
    )
    finding = red if abs(ahead_s) >= _WRONG_S else yellow
    yield finding(what, say("let one NTP source set both clocks (`chronyc tracking`, `timedatectl`)"))
