"""The report where a setting is so wrong that nothing starts, which is known before Django is."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from coupons.operations.preflight import report
from coupons.operations.preflight.findings import Level, Result
from runtime import refused_settings
from runtime.config import ConfigError
from runtime.operator_language import say, spoken


def tell(error: ConfigError, arguments: Sequence[str]) -> int:
    """Print the one red line; returns the exit code."""
    with spoken(refused_settings.language_of(arguments)):
        result = Result(
            check="settings.usable",
            level=Level.RED,
            what=say(error),
            mend=say("set it right; nothing starts before, and nothing else was looked at"),
        )
        if "--json" in arguments:
            sys.stdout.write(f"{json.dumps(report.as_json([result]), ensure_ascii=False)}\n")
        else:
            coloured = sys.stdout.isatty() and "--no-color" not in arguments
            told = report.line(result, coloured=coloured)
            sys.stdout.write(f"{told}\n{report.summary([result])}\n")
    return report.EXIT_CODES[Level.RED]
