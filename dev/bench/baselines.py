"""The two constant views that the API is measured beside."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from statistics import median
from typing import Final

from dev.bench import wrk
from dev.bench.run import Run
from dev.bench.stage import Stage, staged
from dev.bench.wrk import Counted
from dev.processes import LOOPBACK, Process, free_port, status_of

_APPLICATION: Final = "django.core.wsgi:get_wsgi_application()"
#: The usual deployment of a Django REST framework service.
_USUAL: Final = (
    *("--worker-class", "gthread", "--workers", "2", "--threads", "4"),
    *("--keep-alive", "15", "--log-level", "warning", "--no-control-socket"),
)


def plain_site(stage: Stage) -> Process:
    """A constant view without middleware, under the gunicorn configuration that ships."""
    return _started(stage, "plain", ["-c", "dev/bench/sites/gunicorn_conf.py"])


def rest_site(stage: Stage) -> Process:
    """A constant view of Django REST framework on gthread 2 x 4."""
    return _started(stage, "rest", _USUAL)


def load(site: Process, *, seconds: int) -> Counted:
    """The claims that our API gets, to a view that does nothing with them."""
    counted = wrk.run(port=site.port, head="/api/coupons/1/issue?userId=", first_user=1, seconds=seconds)
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
        "DJANGO_SETTINGS_MODULE": f"dev.bench.sites.{name}_settings",
    }
    site = Process(
        name=f"the {name} view",
        command=[sys.executable, "-m", "gunicorn", *options, *bind, _APPLICATION],
        log=stage.system.folder / f"{name}-{port}.out",
        env={**stage.system.api.env, **environment},
        port=port,
    )
    url = f"http://{LOOPBACK}:{port}/"
    return stage.start(site).wait_ready(lambda: status_of(url, patience_s=5) == 200, within_s=30)
