"""Reads that may be some moments old: from the replica, where one is named and answers."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final, TypeVar

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connections
from django.db import Error as DatabaseLayerError

log = logging.getLogger(__name__)

ALIAS: Final = "replica"
#: A replica that failed is left alone for so long. Shorter, and more requests wait for its timeouts; longer,
#: and the database has its load for longer after it is back.
_ASK_AGAIN_AFTER_S: Final = 10.0
T = TypeVar("T")


class Replica:
    """Remembers a failure, for all threads of the process."""

    def __init__(self) -> None:
        self._away_until = 0.0

    def read(self, ask: Callable[[str], T]) -> T:
        """The answer of ``ask``, which is given the name of the database to ask. Blocks its thread.

        A replica that fails in any way is passed over. Raises the database's own errors.
        """
        if ALIAS in settings.DATABASES and time.monotonic() >= self._away_until:
            try:
                return ask(ALIAS)
            except DatabaseLayerError as error:
                self._away_until = time.monotonic() + _ASK_AGAIN_AFTER_S
                connections[ALIAS].close()
                log.warning("the replica fails, the database is asked in its place: %s", error)
        return ask(DEFAULT_DB_ALIAS)


replica: Final = Replica()
