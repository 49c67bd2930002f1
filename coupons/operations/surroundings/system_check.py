"""The check for `manage.py check --database default`, and for `migrate`, which runs it before it writes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from django.core.checks import CheckMessage, Error, Warning
from django.db import Error as DatabaseLayerError

from coupons.operations.surroundings import judging


def surroundings(*, databases: Sequence[str] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """The problems as Django's messages; none while the database is away: the command itself fails then."""
    if not databases:
        return []
    try:
        # `migrate` makes missing tables, so they are no problem; another application's tables are in its way.
        found = judging.before_migrating() if _is_migrating() else judging.problems()
    except DatabaseLayerError:
        return []
    return [
        (Error if problem.stops else Warning)(
            problem.what, hint=problem.mend, id=f"coupons.{'E' if problem.stops else 'W'}001"
        )
        for problem in found
    ]


def _is_migrating() -> bool:
    return "migrate" in sys.argv[1:2]
