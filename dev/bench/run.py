"""What one run of the benchmark has in common: servers, scale, users, and the rates measured so far."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from dev.bench.scale import Scale
from dev.services.own import Services


@dataclass(slots=True)
class Users:
    """Hands out users who have not claimed before on this stage: nobody is in any cache."""

    count: int
    _next: int = 1

    def take(self, count: int) -> range:
        """Raises RuntimeError when there are not so many left."""
        first, self._next = self._next, self._next + count
        if self._next - 1 > self.count:
            raise RuntimeError(f"all {self.count} users have claimed: make more in dev/bench/scale.py")
        return range(first, self._next)

    @property
    def next(self) -> int:
        return self._next


@dataclass(slots=True)
class Run:
    services: Services
    scale: Scale
    before: Path | None = None  #: another checkout, measured in turn with ours where code is compared
    users: Users = field(init=False)
    #: rates that another measurement needs; each is measured when it is first asked for
    plain_per_s: float | None = None
    accept_per_s: float | None = None
    hot_per_s: float | None = None

    def __post_init__(self) -> None:
        self.users = Users(self.scale.users)
