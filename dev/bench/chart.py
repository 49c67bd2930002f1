"""The rush as a picture: accepted against issued, and latency, over time. Latency at 70 % beside it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dev.bench.judging import Outcome
from dev.bench.series import Series

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw(file: Path, *, outcomes: Sequence[Outcome], facts: dict[str, Any]) -> bool:
    """Write the chart; False if the run has nothing to draw."""
    found = {each.name: each.details["series"] for each in outcomes if "series" in each.details}
    if not found:
        return False
    import matplotlib as mpl

    mpl.use("Agg")  # no screen is needed
    from matplotlib import pyplot as plt

    panels = [(_rates, "rush"), (_sums, "rush"), (_latency, "rush"), (_latency, "latency")]
    panels = [(panel, name) for panel, name in panels if name in found]
    size = (9, 1 + 3 * len(panels))
    figure, axes = plt.subplots(len(panels), 1, figsize=size, layout="constrained", squeeze=False)
    for (panel, name), each in zip(panels, axes[:, 0], strict=True):
        panel(each, Series(**found[name]))
        each.set_title(_TITLES[name], fontsize=9)
    figure.suptitle(f"{facts['cpu']}, {facts['cores']} cores, commit {facts['commit']}", fontsize=10)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=110)
    plt.close(figure)
    return True


_TITLES = {
    "rush": "a rush: twice as many users as coupons, closed loop",
    "latency": "open loop at 70 % of the highest rate",
}


def _rates(axes: Axes, told: Series) -> None:
    edges = [number * told.bin_s for number in range(len(told.answered) + 1)]
    for label in ("answered", "accepted", "issued"):
        axes.stairs(getattr(told, label), edges, label=label)
    axes.set_ylabel("per second")
    axes.legend()


def _sums(axes: Axes, told: Series) -> None:
    ends = [(number + 1) * told.bin_s for number in range(len(told.answered))]
    for label in ("accepted", "issued"):
        axes.plot(ends, [sum_ * told.bin_s for sum_ in accumulate(getattr(told, label))], label=label)
    axes.axvline(told.last_answer_s, linestyle=":", color="grey", label="last answer")
    axes.set_ylabel("users so far")
    axes.legend()


def _latency(axes: Axes, told: Series) -> None:
    for label, values in (("p50", told.p50_ms), ("p99", told.p99_ms)):
        points = [((number + 0.5) * told.bin_s, ms) for number, ms in enumerate(values) if ms is not None]
        axes.plot(*zip(*points, strict=True), label=label)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("seconds since the first claim")
    axes.set_ylabel("ms to an answer")
    axes.legend()
