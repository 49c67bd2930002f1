"""Everything about a run: the table, what it cannot say in its columns, and all of it as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from dev import tables
from dev.bench.judging import Line, Outcome

_HEAD: Final = ("what", "ours", "baseline", "ratio", "target", "verdict")
_LEFT: Final = (0, 2, len(_HEAD) - 1)


def write(
    file: Path, *, facts: dict[str, Any], judged: Sequence[Line], outcomes: Sequence[Outcome], is_short: bool
) -> None:
    told = {
        "machine": facts,
        "form": "short" if is_short else "full",
        "table": [_row(line) for line in judged],
        "measurements": {
            outcome.name: {
                "seconds": round(outcome.seconds, 1),
                "complaints": list(outcome.complaints),
                **outcome.details,
            }
            for outcome in outcomes
        },
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(told, indent=1, ensure_ascii=False))


def _row(line: Line) -> dict[str, Any]:
    figure, target = line.figure, line.target
    if figure is None or target is None:
        return {"name": line.outcome.name, "verdict": line.verdict.value}
    told = {"unit": target.unit, "baseline_name": target.beside, "ratio": figure.ratio}
    return asdict(figure) | told | {"target": str(target), "verdict": line.verdict.value}


def as_text(judged: Sequence[Line]) -> str:
    return tables.as_text([_HEAD, *map(_cells, judged)], left=_LEFT)


def as_markdown(judged: Sequence[Line]) -> str:
    return tables.as_markdown([_HEAD, *map(_cells, judged)], left=_LEFT)


def _cells(line: Line) -> tuple[str, ...]:
    figure, target = line.figure, line.target
    if figure is None or target is None:
        return (line.outcome.name, "not measured", "-", "-", "-", line.verdict.value)
    ours, baseline = number(figure.ours, target.unit), number(figure.baseline, target.unit)
    beside = f"{baseline} {target.beside}"
    return (figure.name, ours, beside, f"{figure.ratio:.2f}", str(target), line.verdict.value)


def number(value: float, unit: str) -> str:
    """Three figures are enough: no machine gives more."""
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f}{unit if unit.startswith('/') else f' {unit}'}"


def remarks(outcomes: Sequence[Outcome]) -> list[str]:
    """One line each, for the reader of the table."""
    return [
        f"{outcome.name}: {line}"
        for outcome in outcomes
        for part, remark in _REMARKS.items()
        if part in outcome.details
        for line in remark(outcome.details)
    ]


def _of_latency(details: dict[str, Any]) -> list[str]:
    percents = ", ".join(f"p{percent} {ms} ms" for percent, ms in details["milliseconds"].items())
    us = details["generator_us_per_request"]
    return [
        f"at {details['asked_per_s']:,.0f}/s: {percents}",
        f"the load generator took {details['generator_core_share']:.0%} of a core, sent "
        f"{details['sent_late_p99_ms']} ms late at p99, waiting for one of its connections or for a core; "
        f"it needs {us} us of CPU a request, enough for "
        f"{1e6 / us:,.0f}/s, and got {details['generator_could_per_s']:,}/s from the constant view",
    ]


def _of_rush(details: dict[str, Any]) -> list[str]:
    return [
        f"{each['accepted']:,} accepted and {each['refused']:,} refused in "
        f"{each['last_answer_s']:.2f} s, the last outcome after {each['last_outcome_s']:.2f} s"
        for each in details["rush"]
    ]


def _of_rates(details: dict[str, Any]) -> list[str]:
    """Every slice, so that a noisy machine shows."""
    slices = "; ".join(
        f"{name} " + ", ".join(f"{rate:,.0f}" for rate in rates) for name, rates in details["rates"].items()
    )
    shares = [each["wrk_core_share"] for each in details.get("slices", ())]
    told = [f"slices per s: {slices}"]
    told += [f"wrk took {max(shares):.0%} of a core at most"] if shares else []
    told += [
        f"{count:,} connections are left out: one process may have {details['open_files']:,} files open"
        for count in details.get("left_out", ())
    ]
    return told


#: By what an outcome's details have.
_REMARKS: Final = {"rates": _of_rates, "asked_per_s": _of_latency, "rush": _of_rush}
