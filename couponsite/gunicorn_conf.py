"""gunicorn's configuration: `gunicorn -c couponsite/gunicorn_conf.py couponsite.wsgi`."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from couponsite import starting
from couponsite.config import ConfigError, load

try:
    _config = load()
except ConfigError as error:
    sys.exit(f"settings: {error}")

# As many files as connections, where the system allows it: the usual limit is 1,024.
_soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
_wanted = 65_536 if _hard == resource.RLIM_INFINITY else min(_hard, 65_536)
resource.setrlimit(resource.RLIMIT_NOFILE, (max(_soft, _wanted), _hard))

bind = f"{_config.api.host}:{_config.api.port}"
workers = _config.api.workers
worker_class = "couponsite.gunicorn_worker.LoopWorker"
worker_connections = 10_000  # a browser keeps its connection for a while after its claim
backlog = 2048
keepalive = 15
timeout = 60
graceful_timeout = 20  # longer than a publish may take
control_socket_disable = True
accesslog = None
errorlog = "-"
loglevel = "warning"

# Workers add their metrics up through files in a folder of this port's own; a new start begins at zero.
_metrics = Path(tempfile.gettempdir()) / f"coupon-metrics-{os.getuid()}-{_config.api.port}"
_metrics.mkdir(mode=0o700, exist_ok=True)
os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(_metrics)


def on_starting(server: Any) -> None:
    """Before the port is ours: what cannot work does not start, and is not started again for ever."""
    starting.refuse_a_database_that_cannot_work()


def when_ready(server: Any) -> None:
    """The port is ours, no worker has started: only now is nobody else writing in that folder."""
    shutil.rmtree(_metrics, ignore_errors=True)
    _metrics.mkdir(mode=0o700)
    # Ctrl-C drains, as SIGTERM does; gunicorn's own meaning is to drop what is in hand.
    signal.signal(signal.SIGINT, lambda number, frame: os.kill(os.getpid(), signal.SIGTERM))


def post_worker_init(worker: Any) -> None:
    """Make this worker's producer now: its first delivery takes half a second."""
    from coupons.producer import event_producer

    event_producer()


def worker_exit(server: Any, worker: Any) -> None:
    from coupons.producer import close_event_producer

    close_event_producer()


def child_exit(server: Any, worker: Any) -> None:
    from prometheus_client import multiprocess

    multiprocess.mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]


def on_exit(server: Any) -> None:
    shutil.rmtree(_metrics, ignore_errors=True)
