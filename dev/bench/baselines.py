"""The constant view that the API is measured beside, as others serve it and as we would."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from statistics import median
from typing import Final

from django.conf import settings

from dev.bench import wrk
from dev.bench.run import Run
from dev.bench.stage import Stage, staged
from dev.bench.wrk import Counted
from dev.processes import LOOPBACK, Process, free_port, status_of

#: gunicorn as others run it: its own gevent worker, its own parser and settings, but no log lines.
_STOCK: Final = ("--worker-class", "gevent", "--log-level", "warning", "--no-control-socket")


def stock_site(stage: Stage) -> Process:
    """A constant view without middleware, under stock gunicorn with as many workers as ours."""
    options = [*_STOCK, "--workers", str(settings.CONFIG.api.workers)]
    return _started(stage, "stock", [*options, "django.core.wsgi:get_wsgi_application()"])


def plain_site(stage: Stage) -> Process:
    """The same view under the gunicorn configuration that ships."""
    options = ["-c", "dev/bench/sites/gunicorn_conf.py"]
    return _started(stage, "plain", [*options, "dev.bench.sites.application"])


def load(site: Process, *, seconds: int, connections: int = wrk.CONNECTIONS) -> Counted:
    """The claims that our API gets, to a view that does nothing with them."""
    counted = wrk.run(
        port=site.port,
        heads=["/api/coupons/1/issue?userId="],
        first_user=1,
        seconds=seconds,
        connections=connections,
    )
    if complaints := counted.complaints(status=200):
        raise RuntimeError(f"the constant view did not answer: {complaints}")
    return counted


def plain_per_s(run: Run) -> float:
    """What the plain view does on this machine, measured now unless it was measured before."""
    if run.plain_per_s is None:
        with staged(run) as stage:
            site = plain_site(stage)
            load(site, seconds=run.scale.warm_s)
            run.plain_per_s = median(
                load(site, seconds=run.scale.slice_s).per_s(200) for _ in range(run.scale.rounds)
            )
    return run.plain_per_s


def _started(stage: Stage, name: str, options: Sequence[str]) -> Process:
    port = free_port()
    bind = ["--bind", f"{LOOPBACK}:{port}"]
    environment = {
        "COUPON_API_PORT": str(port),
        "DJANGO_SETTINGS_MODULE": "dev.bench.sites.settings",
    }
    site = Process(
        name=f"the {name} view",
        command=[sys.executable, "-m", "gunicorn", *bind, *options],
        log=stage.system.folder / f"{name}-{port}.out",
        env={**stage.system.api.env, **environment},
        port=port,
    )
    url = f"http://{LOOPBACK}:{port}/"
    return stage.start(site).wait_ready(lambda: status_of(url, patience_s=5) == 200, within_s=30)
