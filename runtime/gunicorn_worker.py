"""The gunicorn worker: connections and claims in one loop of greenlets, everything else in threads.

Nothing is monkey-patched: locks, threads, database and Redis clients block the thread that they run in, so
they must not run in the loop. A claim waits in the loop for its batch (coupons/claims/batching.py), and so do
the routes that wait for the log or for health checks; pages run in threads.

HTTP is ours (runtime/http). Master, signals and settings are gunicorn's, but for what its own HTTP does: TLS,
the PROXY protocol, HTTP/2, access logs and hooks of each request belong to the proxy in front. A server that
is asked for TLS, that protocol or an access log does not start.

A worker that is asked to stop answers the requests that it has, with ``Connection: close``, and closes idle
connections.
"""

from __future__ import annotations

import ipaddress
import os
import signal
import sys
import time
from types import FrameType
from typing import Any, ClassVar, Final

import gevent
from gevent import hub
from gunicorn.workers.base import Worker

from runtime.http.server import Server
from runtime.http.shares import Shares

#: How late the worker notices that it should stop, and how often it shows the master that it lives.
_LOOK_EVERY_S: Final = 0.25
#: A worker ends so long before the master kills it, which counts the graceful timeout from its own SIGTERM.
#: Shorter, and the worker is killed before it logs how many connections it cuts off and writes its last
#: figures; longer, and requests get less time.
_BEFORE_THE_MASTER_S: Final = 2.0
_UNSUPPORTED: Final = ("certfile", "proxy_protocol", "accesslog")


class LoopWorker(Worker):  # type: ignore[misc]
    cfg: Any
    sockets: list[Any]
    wsgi: Any
    alive: bool
    ppid: int
    _killed_at: float | None = None  # by the monotonic clock: the master's patience ends
    _shares: ClassVar = Shares()  # made where the class is loaded: in the master, which forks the workers

    def __init__(self, age: int, *others: Any, **named: Any) -> None:
        """In the master, for each worker. ``age``: how many came before."""
        super().__init__(age, *others, **named)
        self._share = self._shares.of(age)

    @classmethod
    def check_config(cls, cfg: Any, log: Any) -> None:
        """Refuse, in the master, settings that would be silently without effect."""
        for name in _UNSUPPORTED:
            if cfg.settings[name].get() not in (None, False, "off"):
                sys.exit(f"gunicorn's {name} has no effect here: the proxy in front of the API does that")

    def init_process(self) -> None:
        """As gunicorn's own, with a loop that the master's fork does not share."""
        self.sockets = [each.sock for each in self.sockets]
        hub.reinit()
        super().init_process()

    def load_wsgi(self) -> None:
        """Load the application, and call its ``enter_loop`` if it has work to do in the loop."""
        super().load_wsgi()
        self.wsgi.enter_loop()

    def run(self) -> None:
        """Serve until ``alive`` is false; then answer requests at hand, until the master is about to kill."""
        server = Server(
            self.sockets,
            self.wsgi,
            most_connections=self.cfg.worker_connections,
            keepalive_s=self.cfg.keepalive,
            trusts=self._trusts,
            share=self._share if self.cfg.workers > 1 else None,
        )
        while self.alive and server.answered < self.max_requests:
            self.notify()
            gevent.sleep(_LOOK_EVERY_S)
            server.sweep()
        server.stop()
        # The master has counted from its own signal, which we noticed so much later at most.
        self._killed_at = time.monotonic() + self.cfg.graceful_timeout - _LOOK_EVERY_S
        while len(server):
            if self.time_left_s() < _BEFORE_THE_MASTER_S:
                self.log.warning("%d connections are cut off", len(server))
                return
            self.notify()
            server.sweep()
            gevent.sleep(_LOOK_EVERY_S)

    def time_left_s(self) -> float:
        """Until the master kills this worker, which was asked to stop; none, as after a failed start."""
        return 0.0 if self._killed_at is None else max(0.0, self._killed_at - time.monotonic())

    def notify(self) -> None:
        """Show the master that the loop runs; if the master is gone, end as if it had asked."""
        super().notify()
        if self.ppid != os.getppid():
            self.alive = False

    def handle_quit(self, sig: int, frame: FrameType | None) -> None:
        """Ctrl-C in a terminal reaches the workers too: they drain, as with SIGTERM."""
        if sig == signal.SIGINT:
            self.handle_exit(sig, frame)
        else:
            super().handle_quit(sig, frame)

    def _trusts(self, peer: Any) -> bool:
        """Whether it is one of gunicorn's ``forwarded_allow_ips``; whoever reaches a Unix socket is."""
        if not isinstance(peer, tuple) or "*" in self.cfg.forwarded_allow_ips:
            return True
        address = ipaddress.ip_address(peer[0].partition("%")[0])
        return any(address in ipaddress.ip_network(each) for each in self.cfg.forwarded_allow_ips)
