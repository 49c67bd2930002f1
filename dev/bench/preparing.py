"""Servers, settings, tables and users; Django reads its settings from the environment once."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

import django

from dev.bench.run import Run
from dev.bench.scale import Scale
from dev.services.own import Services, ServicesFailed

_DATABASE: Final = f"coupon_bench_{os.getpid()}"


def prepare(services: Services, scale: Scale, *, folder: Path) -> Run:
    """Everything a measurement needs. The settings are those that ship: ours are taken out."""
    for name in [name for name in os.environ if name.startswith("COUPON_")]:
        del os.environ[name]
    os.environ.update(SECRET_KEY="only-for-the-benchmark", DEBUG="false", COUPON_LOG_DIR=str(folder))
    os.environ["DJANGO_SETTINGS_MODULE"] = "couponsite.settings"
    print("starting MariaDB, Redis and Apache Kafka ...", flush=True)
    services.start()
    services.make_database(_DATABASE)
    os.environ.update(services.environment())
    django.setup()
    from django.core.management import call_command

    from dev.bench import backlog, database

    call_command("migrate", verbosity=0)
    print(f"making {scale.users:,} users ...", flush=True)
    database.make_users(scale.users)
    backlog.warm_up()
    return Run(services, scale)


def clean_up(services: Services) -> None:
    """A full run leaves gigabytes: nothing of it is needed again. All servers are stopped."""
    with suppress(ServicesFailed):
        services.sql(f"DROP DATABASE IF EXISTS {_DATABASE}")
    services.stop()
