"""The producer's watchdog: a thread that looks at the brokers, and has the producer mended."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from coupons.eventlog.broker_probe import BrokerProbe, Look
from coupons.eventlog.circuits import Circuits
from runtime import metrics

log = logging.getLogger(__name__)

#: Brokers that do not answer for so long are down, and claims are refused at once. Shorter, and a slow
#: broker is taken for a dead one; longer, and claims wait for their publish timeout instead.
PROBE_TIMEOUT_S: Final = 2.0
#: While something is wrong, the brokers are asked so often. Longer, and claims are refused for longer after
#: they are back.
_PROBE_EVERY_S: Final = 1.0
#: Something may be wrong again and again: between two looks, at least this.
_PAUSE_S: Final = 0.25
#: A broker may die silently while nobody claims: shorter, and idle workers ask for nothing; longer, and the
#: first claims after that wait for their publish timeout.
_LOOK_EVERY_S: Final = 10.0
#: A producer without a broker is made anew after the publish timeout and so long. Shorter, and one that is
#: about to reconnect is thrown away; longer, and a producer that librdkafka gave up refuses claims for
#: longer.
PATIENCE_S: Final = 10.0
#: An acknowledgement counts for so long against brokers that do not answer questions.
_ACKNOWLEDGED_S: Final = 2.0


class Watchdog:
    """``mend`` is called after each look that found a broker, ``rebuild`` with the reason when none was found
    for long: both in the watchdog's thread. Attributes may be read in any thread.
    """

    def __init__(
        self,
        *,
        topic: str,
        timeout_s: float,
        circuits: Circuits,
        mend: Callable[[], None],
        rebuild: Callable[[str], None],
    ) -> None:
        self.is_down = False  #: whether no broker answered when they were last asked
        self.brokers: tuple[int, ...] = ()  #: the ids of the brokers, when they last answered
        self.partitions = 0  #: of the topic; 0: not known yet
        self.acknowledged_at = float("-inf")  #: when the last record was
        self.well_since: float | None = None  #: since when all looks as it should
        self._timeout_s = timeout_s
        self._circuits = circuits
        self._mend, self._rebuild = mend, rebuild
        self._probe = BrokerProbe(topic)
        self._down_since = 0.0
        self._stop = threading.Event()
        self._suspicion = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="producer-watchdog", daemon=True)

    def start(self) -> None:
        self._suspicion.set()
        self._thread.start()

    def ask_to_stop(self) -> None:
        """It has nothing mended any more."""
        self._stop.set()
        self._suspicion.set()

    def join(self) -> None:
        self._thread.join(PROBE_TIMEOUT_S + 1)

    def suspect(self) -> None:
        """Let it look now. From any thread."""
        self._suspicion.set()

    def _watch(self) -> None:
        is_first = True
        while not self._stop.is_set():
            is_troubled = self.is_down or not self._circuits.is_calm
            # Looks without suspicion too: a broker may die silently while nobody claims.
            is_suspicious = self._suspicion.wait(_PROBE_EVERY_S if is_troubled else _LOOK_EVERY_S)
            if self._stop.is_set():
                return
            self._suspicion.clear()
            closely = (is_suspicious or is_troubled) and not is_first
            is_first = False
            try:
                self._look(closely=closely)
            except Exception:  # as where a key's file is being replaced; without us claims stay refused
                log.exception("the look at the broker failed, and is taken again")
            self._stop.wait(_PAUSE_S)

    def _look(self, *, closely: bool) -> None:
        look = self._probe.look(timeout_s=PROBE_TIMEOUT_S, closely=closely)
        if self._stop.is_set():
            return
        self._note(look)
        if not self.is_down:
            self._mend()
        elif time.monotonic() - self._down_since > self._timeout_s + PATIENCE_S:
            self._down_since = time.monotonic()  # the new producer gets as long
            self._probe.renew()
            self._rebuild("neither broker nor topic has answered for long")

    def _note(self, look: Look | None) -> None:
        if look is None or not look.partitions:
            is_acknowledged = time.monotonic() - self.acknowledged_at < _ACKNOWLEDGED_S
            if not is_acknowledged:
                self._set_down(True)
            return
        self.brokers, self.partitions = look.brokers, len(look.partitions)
        self._circuits.look(look.partitions)
        self._set_down(False)
        if not all(look.partitions.values()):
            self.well_since = None
        elif self.well_since is None:
            self.well_since = time.monotonic()

    def _set_down(self, is_down: bool) -> None:
        if is_down:
            self.well_since = None
            self._circuits.silence(range(self.partitions))
        if is_down != self.is_down:
            self._down_since = time.monotonic()
            log.warning("the broker %s", "does not answer" if is_down else "answers again")
        self.is_down = is_down
        metrics.PRODUCER_UP.set(not is_down)
        metrics.DEAD_PARTITIONS.set(len(self._circuits.dead()))
