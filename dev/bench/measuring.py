"""Takes one measurement; one that fails is red, and the others go on."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from typing import Final

from confluent_kafka import KafkaException
from django.db import Error as DatabaseLayerError
from redis.exceptions import RedisError

from dev.bench.catalogue import Measurement
from dev.bench.judging import Outcome
from dev.bench.run import Run

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


def measure(measurement: Measurement, run: Run) -> Outcome:
    started, load = time.monotonic(), os.getloadavg()[0]
    try:
        outcome = function_of(measurement)(run)
    except _BROKEN as error:
        told = f"not measured: {type(error).__name__}: {error}"[:1000]
        outcome = Outcome(name=measurement.name, complaints=[told])
    details = outcome.details | {"load_average_before": load}
    return replace(outcome, details=details, seconds=time.monotonic() - started)


def function_of(measurement: Measurement) -> Callable[[Run], Outcome]:
    module, _, name = measurement.function.partition(".")
    function: Callable[[Run], Outcome] = getattr(import_module(f"dev.bench.measurements.{module}"), name)
    return function
