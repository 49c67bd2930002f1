"""The report where a setting is so wrong that nothing starts, which is known before Django is."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from environs import Env, EnvError

from coupons.operations.preflight import report
from coupons.operations.preflight.findings import Level, Result
from runtime.config import language
from runtime.config.language import Language
from runtime.operator_language import say, shown, spoken

_PREFIX = "settings: "


def tell(line: str, arguments: Sequence[str]) -> int:
    """Print the one red line; returns the exit code. ``line``: what every command ends with."""
    as_json = "--json" in arguments
    with spoken(Language.ENGLISH if as_json else _language()):
        result = Result(
            check="settings.usable",
            level=Level.RED,
            what=line.removeprefix(_PREFIX),
            mend=say("set it right; nothing starts before, and nothing else was looked at"),
        )
        if as_json:
            sys.stdout.write(f"{json.dumps(report.as_json([result]), ensure_ascii=False)}\n")
        else:
            coloured = sys.stdout.isatty() and "--no-color" not in arguments
            told = report.line(result, coloured=coloured)
            sys.stdout.write(f"{told}\n{report.summary([result])}\n")
    return report.EXIT_CODES[Level.RED]


def _language() -> Language:
    """The operator's; English where COUPON_LANGUAGE is what is wrong."""
    try:
        return shown(language.load(Env()))
    except EnvError:
        return Language.ENGLISH
