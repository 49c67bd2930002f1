"""The one table: what, ours, baseline, ratio, target, verdict. Plain text and Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from dev.bench.judging import Line

_HEAD: Final = ("what", "ours", "baseline", "ratio", "target", "verdict")
_LEFT: Final = (0, 2, len(_HEAD) - 1)


def as_text(judged: Sequence[Line]) -> str:
    rows = [_HEAD, *(_cells(line) for line in judged)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column in _LEFT else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def as_markdown(judged: Sequence[Line]) -> str:
    head = "| " + " | ".join(_HEAD) + " |"
    rule = "| --- | ---: | --- | ---: | ---: | --- |"
    return "\n".join([head, rule, *("| " + " | ".join(_cells(line)) + " |" for line in judged)])


def _cells(line: Line) -> tuple[str, ...]:
    figure = line.figure
    if figure is None:
        return (line.outcome.name, "not measured", "-", "-", "-", line.verdict.value)
    return (
        figure.name,
        number(figure.ours, figure.unit),
        f"{number(figure.baseline, figure.unit)} {figure.baseline_name}",
        f"{figure.ratio:.2f}",
        str(line.target),
        line.verdict.value,
    )


def number(value: float, unit: str) -> str:
    """Three figures are enough: no machine gives more."""
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f}{unit if unit.startswith('/') else f' {unit}'}"
