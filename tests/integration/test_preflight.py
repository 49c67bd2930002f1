"""The preflight on the tests' own servers, whichever they are."""

from __future__ import annotations

import io
import json
import time

import pytest
import uuid_utils.compat
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import connection
from django_redis import get_redis_connection

from coupons.claim import Claim
from coupons.eventlog.events import CouponIssueEvent
from coupons.eventlog.place import Place
from coupons.gate import keys, pending
from coupons.operations.preflight.redis.judging import BYTES_OF_A_USER

pytestmark = pytest.mark.django_db(transaction=True)


def run(*words: str) -> tuple[int, str]:
    """Exit code, and what was printed."""
    out = io.StringIO()
    try:
        call_command("preflight", *words, stdout=out)
    except SystemExit as ended:
        return int(str(ended.code)), out.getvalue()
    return 0, out.getvalue()


def test_every_subject_is_told() -> None:
    code, told = run("--json", "--only", "database,redis,kafka")

    checks = {each["check"]: each for each in json.loads(told)["checks"]}
    red = {name for name, each in checks.items() if each["level"] == "red"}
    assert red == ({"database.kind"} if connection.vendor == "sqlite" else set()), told
    assert code == (1 if red else json.loads(told)["exitCode"])
    assert checks["kafka.topics"]["level"] == "green"
    assert checks["redis.policy"]["level"] == "green"
    assert {"database.answers", "redis.answers", "kafka.answers"} <= set(checks)


def test_red_alone_may_decide_about_the_exit_code() -> None:
    """The tests' settings have no HTTPS, which is yellow."""
    yellow, told = run("--only", "settings.https")
    assert (yellow, told.split()[0]) == (4, "YELLOW")
    assert told.endswith("yellow: 1 yellow\n")
    assert run("--only", "settings.https", "--red-only")[0] == 0
    assert run("--only", "settings.debug", "--force-color")[1].startswith("\033[32mGREEN")
    assert "\033" not in run("--only", "settings.debug")[1]


def test_what_is_not_there_cannot_be_chosen() -> None:
    with pytest.raises(CommandError, match=r"--only settings\.nothing: there is no such check"):
        run("--only", "settings.debug,settings.nothing")


def test_nothing_is_left_behind() -> None:
    client = get_redis_connection("default")
    run("--only", "redis,kafka")

    # The first one is of health, as the actuator leaves it.
    left = [(key, client.pttl(key)) for key in client.keys("*") if key != b"coupon-health"]
    assert all(0 < ttl_ms <= 1000 for _, ttl_ms in left), left


def test_a_crowd_takes_no_more_memory_than_is_said() -> None:
    """Reservations and places in the log, of people who claim within two seconds."""
    client, users = get_redis_connection("default"), 20_000
    claims = [
        Claim(coupon_id=7, user_id=1_000_000 + number, request_id=uuid_utils.compat.uuid7())
        for number in range(users)
    ]
    _, reservations, _ = keys.keys_of(7)
    before = client.info("memory")["used_memory"]
    for first in range(0, users, 1000):
        some = claims[first : first + 1000]
        client.hset(reservations, items=list(keys.flat(keys.pair(claim) for claim in some)))
        now_ms = int(time.time() * 1000)
        pending.note([(CouponIssueEvent.of(claim, timestamp_ms=now_ms), Place(0, first)) for claim in some])

    taken = (client.info("memory")["used_memory"] - before) / users
    assert taken < BYTES_OF_A_USER, settings.CONFIG.redis.kind
    assert taken > BYTES_OF_A_USER / 4  # else it is said of another crowd than this one
