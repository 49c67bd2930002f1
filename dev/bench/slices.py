"""Slices of load, taken in turn: what is compared is measured within seconds, round by round."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from dev.bench import baselines
from dev.bench.judging import Figure, Outcome
from dev.bench.stage import Stage
from dev.bench.usage import cpu_counted
from dev.bench.wrk import CONNECTIONS, Counted
from dev.processes import Process

Turn = Callable[[str], None]  #: takes one slice under this name


@dataclass(slots=True, kw_only=True)
class Slices:
    """Rates per second by name, and what is known of each slice of ours: all must be answered so."""

    stage: Stage
    consumer: Process
    status: int = 202
    code: str | None = None
    rates: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    slices: list[dict[str, Any]] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def in_turn(self, turns: Mapping[str, Turn], *, rounds: int | None = None) -> None:
        """Each is called with its name, one after the other, in every round; every second round backwards, so
        that none always follows the same."""
        for number in range(rounds or self.stage.run.scale.rounds):
            for name, take in list(turns.items())[:: -1 if number % 2 else 1]:
                take(name)

    def of_site(self, site: Process, connections: int = CONNECTIONS) -> Turn:
        """A turn of a constant view, warmed up now."""
        scale = self.stage.run.scale
        baselines.load(site, seconds=scale.warm_s)

        def take(name: str) -> None:
            counted = baselines.load(site, seconds=scale.slice_s, connections=connections)
            self.rates[name].append(counted.per_s(200))

        return take

    def of_api(
        self,
        *coupon_ids: int,
        api: Process | None = None,
        connections: int = CONNECTIONS,
        while_issuing: bool = False,
        tickets: Callable[[], Path] | None = None,
    ) -> Turn:
        """A turn of claims, decided to its end; its CPU time is that of both together.

        ``tickets`` makes a file of them for the users who claim next (dev/bench/tickets.py). Unless
        ``while_issuing``, the consumer stands still during the load, for less than the group waits.
        """

        def take(name: str) -> None:
            stage = self.stage
            signed = tickets() if tickets else None
            with cpu_counted(stage.pids() | ({"api": api.pid} if api else {})) as cpu_s:
                with nullcontext() if while_issuing else self.consumer.paused():
                    counted = stage.load(
                        *coupon_ids,
                        seconds=stage.run.scale.slice_s,
                        connections=connections,
                        api=api,
                        tickets=signed,
                    )
                stage.wait_decided(*coupon_ids)
            self.complaints += counted.complaints(status=self.status, code=self.code)
            self.rates[name].append(counted.per_s(self.status))
            self.slices.append(_told(name, counted, cpu_s))

        return take

    def figure(self, name: str, ours: str, beside: str) -> Figure:
        """Two that were taken in the same rounds."""
        rounds = zip(self.rates[ours], self.rates[beside], strict=True)
        return Figure(
            name=name,
            ours=median(self.rates[ours]),
            baseline=median(self.rates[beside]),
            of_rounds=[each / other for each, other in rounds],
        )

    def outcome(self, name: str, *figures: Figure, **details: Any) -> Outcome:
        told = {"rates": dict(self.rates), "slices": self.slices, **details}
        return Outcome(name=name, figures=figures, complaints=self.complaints, details=told)


def _told(name: str, counted: Counted, cpu_s: Mapping[str, float]) -> dict[str, Any]:
    answers = sum(counted.statuses.values())
    return {
        "of": name,
        "seconds": counted.seconds,
        "statuses": dict(counted.statuses),
        "codes": dict(counted.codes),
        "wrk_core_share": round(counted.core_share, 3),
        "cpu_us_per_claim": {each: round(used / answers * 1e6, 1) for each, used in cpu_s.items()},
    }
