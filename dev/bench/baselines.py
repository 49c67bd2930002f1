"""The two constant views that the API is measured beside."""

from __future__ import annotations

import sys
from statistics import median

from dev.bench import wrk
from dev.bench.run import Run
from dev.bench.stage import Stage, staged
from dev.bench.wrk import Counted
from dev.services.own import free_port
from tests.system import Server, ask, eventually

_APPLICATION = "django.core.wsgi:get_wsgi_application()"
#: The usual deployment of a Django REST framework service.
_USUAL = [
    "--worker-class",
    "gthread",
    "--workers",
    "2",
    "--threads",
    "4",
    "--keep-alive",
    "15",
    "--log-level",
    "warning",
]


def plain_site(stage: Stage) -> Server:
    """A constant view without middleware, under the gunicorn configuration that ships."""
    return _started(stage, "plain", ["-c", "dev/bench/sites/gunicorn_conf.py"])


def rest_site(stage: Stage) -> Server:
    """A constant view of Django REST framework on gthread 2 x 4."""
    return _started(stage, "rest", [*_USUAL, "--no-control-socket"])


def load(site: Server, *, seconds: int) -> Counted:
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


def _started(stage: Stage, name: str, options: list[str]) -> Server:
    port = free_port()
    environment = {
        "COUPON_API_PORT": str(port),
        "DJANGO_SETTINGS_MODULE": f"dev.bench.sites.{name}_settings",
    }
    bind = ["--bind", f"127.0.0.1:{port}"]
    site = Server(
        command=[sys.executable, "-m", "gunicorn", *options, *bind, _APPLICATION],
        env={**stage.system.api.env, **environment},
        port=port,
        log=stage.system.folder / f"{name}-{port}.out",
    )
    stage.start_site(site)
    eventually(
        lambda: ask(port, "GET", "/", patience_s=5).status == 200,
        within_s=30,
        what=lambda: f"the {name} view does not answer: {site.output()[-2000:]}",
    )
    return site
