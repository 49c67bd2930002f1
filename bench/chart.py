"""The rush as a picture: accepted against issued, and latency, over time."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bench.judging import Outcome
from bench.percentiles import binned_rate, percentile

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BINS: Final = 40


def draw(file: Path, *, outcomes: Sequence[Outcome], facts: dict[str, Any]) -> bool:
    """Write the chart; False if the run has no rush to draw."""
    rounds = next((each.details.get("rounds") for each in outcomes if each.name == "rush"), None)
    if not rounds:
        return False
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    middle = sorted(rounds, key=lambda each: each["ratio"])[len(rounds) // 2]
    figure, (rates, sums, latency) = plt.subplots(3, 1, figsize=(9, 10), sharex=True, layout="constrained")
    _draw_rates(rates, middle)
    _draw_sums(sums, middle)
    _draw_latency(latency, middle)
    figure.suptitle(
        f"A rush: {len(middle['due']):,} users, {middle['issued_until'][-1][1]:,} coupons\n"
        f"{facts['cpu']}, {facts['cores']} cores, commit {facts['commit']}",
        fontsize=10,
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=110)
    plt.close(figure)
    return True


def _draw_rates(axes: Axes, told: dict[str, Any]) -> None:
    until = max(told["last_outcome_s"], told["last_answer_s"])
    bin_s = until / _BINS
    edges = [number * bin_s for number in range(_BINS + 1)]
    answered = [due + took for due, took in zip(told["due"], told["took"], strict=True)]
    for label, moments in (("answered", answered), ("accepted", told["accepted_at"])):
        rates = binned_rate(moments, bin_s=bin_s, until=until)[:_BINS]
        axes.stairs(rates, edges[: len(rates) + 1], label=label)
    axes.stairs(_issued_rates(told["issued_until"], edges), edges, label="issued")
    axes.set_ylabel("per second")
    axes.legend()


def _issued_rates(samples: Sequence[tuple[float, int]], edges: Sequence[float]) -> list[float]:
    counts = [max((count for at, count in samples if at <= edge), default=0) for edge in edges]
    width = edges[1] - edges[0]
    return [(after - before) / width for before, after in pairwise(counts)]


def _draw_sums(axes: Axes, told: dict[str, Any]) -> None:
    accepted = sorted(told["accepted_at"])
    axes.plot(accepted, range(1, len(accepted) + 1), label="accepted")
    times, counts = zip(*told["issued_until"], strict=True)
    axes.step(times, counts, where="post", label="issued, committed")
    axes.axvline(told["last_answer_s"], linestyle=":", color="grey", label="last answer")
    axes.set_ylabel("users")
    axes.legend()


def _draw_latency(axes: Axes, told: dict[str, Any]) -> None:
    bin_s = told["last_answer_s"] / _BINS
    bins: list[list[float]] = [[] for _ in range(_BINS)]
    for due, took in zip(told["due"], told["took"], strict=True):
        bins[min(int(due / bin_s), _BINS - 1)].append(took * 1000)
    middles = [(number + 0.5) * bin_s for number, values in enumerate(bins) if values]
    for percent in (50, 99):
        axes.plot(middles, [percentile(values, percent) for values in bins if values], label=f"p{percent}")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("seconds since the first claim")
    axes.set_ylabel("ms to an answer")
    axes.legend()
