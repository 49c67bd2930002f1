"""Prepares a run and takes one measurement; one that fails is red, and the others go on."""

from __future__ import annotations

import os
import subprocess
import time
from contextlib import suppress
from dataclasses import replace
from typing import Final

import django
from confluent_kafka import KafkaException
from django.core.management import call_command
from django.db import Error as DatabaseLayerError
from redis.exceptions import RedisError

from bench import database
from bench.judging import Outcome
from bench.measurements import Measurement
from bench.run import Run
from bench.scale import Scale
from deploy.services.own import Services, ServicesFailed

_BROKEN: Final = (
    AssertionError,
    RuntimeError,
    ValueError,
    OSError,
    subprocess.SubprocessError,
    DatabaseLayerError,
    RedisError,
    KafkaException,
)
_DATABASE: Final = f"coupon_bench_{os.getpid()}"


def prepare(services: Services, scale: Scale) -> Run:
    """Servers, tables and users."""
    print("starting MariaDB, Redis and Apache Kafka ... ", end="", flush=True)
    services.start()
    services.make_database(_DATABASE)
    os.environ.update(services.environment())
    django.setup()
    call_command("migrate", verbosity=0)
    print(f"making {scale.users:,} users", flush=True)
    database.make_users(scale.users)
    return Run(services, scale)


def measure(measurement: Measurement, run: Run) -> Outcome:
    started, load = time.monotonic(), os.getloadavg()[0]
    try:
        outcome = measurement.measure(run)
    except _BROKEN as error:
        told = f"not measured: {type(error).__name__}: {error}"[:1000]
        outcome = Outcome(name=measurement.name, complaints=[told])
    details = outcome.details | {"load_average_before": load}
    return replace(outcome, details=details, seconds=time.monotonic() - started)


def drop_database(services: Services) -> None:
    """A full run leaves gigabytes: nothing of it is needed again."""
    with suppress(ServicesFailed):
        services.sql(f"DROP DATABASE IF EXISTS {_DATABASE}")
