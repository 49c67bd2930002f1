"""gunicorn's configuration: `gunicorn -c couponsite/gunicorn_conf.py couponsite.wsgi`."""

from __future__ import annotations

import math
import os
import signal
import sys
from typing import Any

# The successor (SIGUSR2) of `python -m gunicorn` begins in gunicorn's folder, whose `http` hides Python's.
sys.path = [path for path in sys.path if os.path.basename(path) != "gunicorn"]
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from couponsite import starting  # noqa: E402 - after `sys.path` is right
from runtime import metrics_folder, open_files, secret_strength  # noqa: E402
from runtime.config import ConfigError, load  # noqa: E402

try:
    _config = load()
    secret_strength.refuse_weak(_config)
except ConfigError as error:
    sys.exit(f"settings: {error}")

# As many open files as connections, if the system allows it: the usual limit is 1,024.
_files = open_files.allow()

# couponsite/doors.py tells by the port what a request may ask for.
_ports = (_config.api.port, _config.api.operations_port)
bind = [f"{_config.api.host}:{port}" for port in _ports if port]
workers = _config.api.workers
worker_class = "runtime.gunicorn_worker.LoopWorker"
worker_connections = open_files.connections(_files, threads=_config.api.threads)
backlog = open_files.BACKLOG
keepalive = _config.api.keepalive_s
timeout = 60
graceful_timeout = math.ceil(_config.longest_claim_s) + 3  # of these 3 s, a worker takes 2 to end by itself
control_socket_disable = True
accesslog = None
errorlog = "-"
loglevel = "warning"


# An error in a hook ends the master and frees the port; an error in `worker_exit` is only a line in the log.
# tests/contract/test_masters.py and test_stopping.py start the real server.


def on_starting(server: Any) -> None:
    """Runs before the port is ours: a server that cannot work ends, and restarts no workers for ever."""
    starting.refuse_what_cannot_work()


def when_ready(server: Any) -> None:
    """Runs in the master: the port is ours, and no worker has started."""
    metrics_folder.make(port=_config.api.port)
    # Ctrl-C drains, as SIGTERM does; gunicorn's own handler drops the requests at hand.
    signal.signal(signal.SIGINT, lambda number, frame: os.kill(os.getpid(), signal.SIGTERM))


def pre_fork(server: Any, worker: Any) -> None:
    metrics_folder.ensure()


def post_worker_init(worker: Any) -> None:
    """Make this worker's producer now, in its loop: a producer's first delivery takes half a second."""
    from coupons.eventlog.producer import event_producer

    event_producer()


def worker_exit(server: Any, worker: Any) -> None:
    """Deliver the last figures, records and spans. The master calls this too, for a dead worker.

    Figures first: they are of claims that were answered, and the producer may wait for a broker that is away
    until the master kills this worker. Its records are of claims that were not.
    """
    if flushing := sys.modules.get("coupons.figures.flushing"):
        # Half of what is left: records and spans follow.
        flushing.stop(patience_s=min(flushing.PATIENCE_S, worker.time_left_s() / 2))
    if "coupons.eventlog.producer" in sys.modules:
        sys.modules["coupons.eventlog.producer"].close_event_producer()
    if "coupons.claims.tracing" in sys.modules:
        sys.modules["coupons.claims.tracing"].stop()


def child_exit(server: Any, worker: Any) -> None:
    metrics_folder.forget(worker.pid)


def on_exit(server: Any) -> None:
    metrics_folder.remove()
