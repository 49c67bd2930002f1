"""Whether the database is away, for those who must not wait for that answer each time.

A claim that asked a database that hangs would wait for a timeout, and all claims behind it. So whoever meets
an error, or waits for long, says so; then a thread of its own asks the database, with short timeouts, until
it answers. While it does not, claims and questions are refused at once.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from django.db import DEFAULT_DB_ALIAS, OperationalError, connections
from django.db import Error as DatabaseLayerError

from runtime import database_roles
from runtime.database_errors import is_unreachable

log = logging.getLogger(__name__)

#: Between two questions to a database that does not answer. Shorter, and it is pressed while it starts;
#: longer, and claims are refused for longer after it is back.
ASK_EVERY_S: Final = 0.25
#: For a connection and for its answer. Shorter, and a busy database is taken for one that is away; longer,
#: and claims wait for longer until they are refused at once.
_PATIENCE_S: Final = 1


class DatabaseAwayError(OperationalError):
    """The database did not answer a moment ago, and is being asked."""


class DatabaseWatch:
    """One per process. Any thread may call it, also the loop: no call waits.

    ``ask`` raises django.db.Error if the database does not answer; it is called in the watch's own thread.
    """

    def __init__(self, ask: Callable[[], None]) -> None:
        self._ask = ask
        self._lock = threading.Lock()
        self.is_asking = False
        self.is_away = False

    def suspect(self) -> None:
        """The database failed, or is slow: find out whether it is away."""
        with self._lock:
            if self.is_asking:
                return
            self.is_asking = True
        threading.Thread(target=self._ask_until_it_answers, name="database-watch", daemon=True).start()

    def refuse_if_away(self) -> None:
        """Raises DatabaseAwayError."""
        if self.is_away:
            raise DatabaseAwayError("the database did not answer a moment ago")

    def _ask_until_it_answers(self) -> None:
        try:
            while (failure := self._failure()) is not None:
                if not self.is_away:
                    log.error("the database is away, claims are refused until it is back: %s", failure)
                self.is_away = True
                time.sleep(ASK_EVERY_S)
            if self.is_away:
                log.warning("the database answers again")
                database_roles.suspect()  # kept connections lead to what died
        finally:
            with self._lock:
                self.is_away = self.is_asking = False

    def _failure(self) -> DatabaseLayerError | None:
        """What the server says itself does not count: it is there, and connections may be left of before."""
        try:
            self._ask()
        except DatabaseLayerError as error:
            return error if is_unreachable(error) else None
        return None


def _ask_by_name() -> None:
    """Connect anew, as whoever finds its connection dead will, and ask. Raises django.db.Error."""
    connection = connections[DEFAULT_DB_ALIAS].copy()
    if connection.vendor == "mysql":
        waits = ("connect_timeout", "read_timeout", "write_timeout")
        connection.settings_dict["OPTIONS"].update(dict.fromkeys(waits, _PATIENCE_S))
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            cursor.fetchone()
    finally:
        connection.close()


watch: Final = DatabaseWatch(_ask_by_name)
