"""Runs one case: stage it, start the rush, break something in its middle, settle, judge."""

from __future__ import annotations

import subprocess
import time
from dataclasses import replace
from typing import Final

from confluent_kafka import KafkaException
from django.db import Error as DatabaseLayerError
from redis.exceptions import RedisError

from dev.faults.case import Case, Scale
from dev.faults.judging import judge, settle
from dev.faults.scene import staged, wait_until_decided
from dev.faults.table import Row
from dev.services.own import Services

#: What may go wrong with a system under faults, beyond what is judged: the row is red, the others run.
_BROKEN: Final = (
    AssertionError,
    RuntimeError,
    OSError,
    subprocess.SubprocessError,
    DatabaseLayerError,
    RedisError,
    KafkaException,
)


def run(case: Case, *, scale: Scale, services: Services) -> Row:
    started = time.monotonic()
    try:
        row = _run(case, scale=scale, services=services)
    except _BROKEN as error:
        row = Row(
            name=case.name,
            what=case.what,
            bug_shows_in=case.bug_shows_in,
            complaints=[f"not judged: {type(error).__name__}: {error}"[:500]],
        )
        services.start_again()
    return replace(row, seconds=time.monotonic() - started)


def _run(case: Case, *, scale: Scale, services: Services) -> Row:
    with (
        case.around(services),
        staged(case, scale=scale, services=services) as scene,
        case.meanwhile(),
    ):
        scene.rush.start()
        scene.middle()
        case.act(scene)
        recovered_s = wait_until_decided(scene)
        settle(scene)
        return judge(scene, recovered_s=recovered_s)
