"""The report where a setting is so wrong that nothing starts, which is known before Django is."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from coupons.operations.preflight import report
from coupons.operations.preflight.findings import Level, Result

_PREFIX = "settings: "


def say(line: str, arguments: Sequence[str]) -> int:
    """Print the one red line; returns the exit code. ``line``: what every command ends with."""
    result = Result(
        check="settings.usable",
        level=Level.RED,
        what=line.removeprefix(_PREFIX),
        mend="set it right; nothing starts before, and nothing else was looked at",
    )
    if "--json" in arguments:
        sys.stdout.write(f"{json.dumps(report.as_json([result]), ensure_ascii=False)}\n")
    else:
        coloured = sys.stdout.isatty() and "--no-color" not in arguments
        sys.stdout.write(f"{report.line(result, coloured=coloured)}\n{report.summary([result])}\n")
    return report.EXIT_CODES[Level.RED]
