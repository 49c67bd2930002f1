"""The report, as lines and as JSON. Pure: `manage.py` uses it before there are settings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from coupons.operations.preflight.findings import WORSE, Level, Result
from runtime import columns
from runtime.operator_language import say

#: Exit codes. 1 is also that of a command that fails, 2 of one that was called wrongly.
EXIT_CODES: Final = {Level.GREEN: 0, Level.NOTE: 0, Level.YELLOW: 4, Level.RED: 1}
_COLOURS: Final = {Level.GREEN: "32", Level.NOTE: "36", Level.YELLOW: "33", Level.RED: "31;1"}
_WIDTH: Final = max(len(level) for level in Level)


def worst(results: Sequence[Result]) -> Level:
    return max((result.level for result in results), key=WORSE.index, default=Level.GREEN)


def exit_code(level: Level, *, red_only: bool = False) -> int:
    """``red_only``: yellow counts as green."""
    return 0 if red_only and level is not Level.RED else EXIT_CODES[level]


def line(result: Result, *, coloured: bool = False) -> str:
    """One line, whatever a server's words hold."""
    word = columns.left(say(result.level).upper(), _WIDTH)
    shown = f"\033[{_COLOURS[result.level]}m{word}\033[0m" if coloured else word
    mend = say(". Mend: {mend}", mend=result.mend) if result.mend else ""
    return " ".join(f"{shown} {result.check}: {result.what.rstrip('.')}{mend}".split(" ")).replace("\n", " ")


def summary(results: Sequence[Result]) -> str:
    counts = Counter(result.level for result in results)
    told = ", ".join(
        say("{number} {level}", number=counts[level], level=say(level))
        for level in reversed(WORSE)
        if counts[level]
    )
    return f"{say(worst(results))}: {told}"


def as_json(results: Sequence[Result], *, red_only: bool = False) -> dict[str, Any]:
    level = worst(results)
    counts = Counter(result.level for result in results)
    return {
        "level": level.value,
        "exitCode": exit_code(level, red_only=red_only),
        "counts": {each.value: counts[each] for each in Level},
        "checks": [
            {"check": each.check, "level": each.level.value, "what": each.what, "mend": each.mend}
            for each in results
        ],
    }
