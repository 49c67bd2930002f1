"""The database component of health: does the database answer, and can the system work on it?

Somebody may alter a table, restore a dump or start the processes before `migrate` at any time. So health
repeats the check: rarely while all is well, often while something is wrong.
"""

from __future__ import annotations

import threading
import time
from typing import Final

from django.db import Error as DatabaseLayerError
from django.db import connection

from coupons.operations.surroundings import judging
from runtime import actuator
from runtime.actuator import Component

#: Shorter, and each probe reads the schema; longer, and an altered table shows in health later.
_WHILE_WELL_S: Final = 10.0
_WHILE_WRONG_S: Final = 2.0  #: a mended database is ready after so long at most


class Watch:
    """Remembers the last answer for a while. Any thread may ask, with its own connection; never the loop."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._line = ""
        self._due = 0.0

    def line(self) -> str:
        """The worst problem, in one line; empty if the system can work. Raises django.db.Error."""
        with self._lock:
            if time.monotonic() >= self._due:
                self._line = judging.in_one_line(judging.problems())
                self._due = time.monotonic() + (_WHILE_WRONG_S if self._line else _WHILE_WELL_S)
            return self._line

    def forget(self) -> None:
        """Drop the last answer: the next call checks the database."""
        self._due = 0.0


watch: Final = Watch()


def database() -> Component:
    """The actuator's component, with the schema's state in its details. Runs in a check's own thread."""
    answers = actuator.database()
    try:
        line = watch.line() if answers.is_up else _why_refused()
    except DatabaseLayerError as error:
        connection.close()
        watch.forget()
        return Component(is_up=False, details={"error": type(error).__name__})
    if line:
        return Component(is_up=False, details={**answers.details, "schema": line})
    return answers


def _why_refused() -> str:
    """The reason why the database refuses us. Raises django.db.Error if it is merely away."""
    watch.forget()
    return judging.in_one_line(judging.problems())
