"""Redis, the broker or the database dies for real: what docs/api.md promises meanwhile and after."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from uuid import uuid4

import pytest
from django.db import connection

from coupons.gate.admission import gate
from coupons.models import Coupon, DeadLetter, IssueOutcome, UserCoupon
from tests.factories import make_coupon, make_users
from tests.stack import services
from tests.system import HttpAnswer, System, ask, eventually

pytestmark = pytest.mark.services_only


@contextmanager
def away(server: str, *, how: str = "kill") -> Iterator[None]:
    """SIGKILL or SIGSTOP it; it is back when the block ends."""
    services(how, server)
    try:
        yield
    finally:
        services("resume" if how == "pause" else "start", server)


def health(port: int) -> dict[str, str]:
    body = ask(port, "GET", "/actuator/health").body
    return {name: component["status"] for name, component in body["components"].items()}


def is_ready(port: int) -> bool:
    return ask(port, "GET", "/actuator/health/readiness").status == 200


def timed_claim(system: System, coupon: Coupon, user: int) -> tuple[HttpAnswer, float]:
    started = time.monotonic()
    answer = system.claim(coupon.pk, user)
    return answer, time.monotonic() - started


def issued(coupon: Coupon) -> int:
    return UserCoupon.objects.filter(coupon=coupon).count()


def verified(system: System) -> None:
    done = system.manage("verify", "--from-topic")
    assert done.returncode == 0, done.stdout


def claim_until_sold_out(system: System, coupon: Coupon, users: list[int], *, stock: int) -> None:
    """One after the other, until all the stock is issued.

    What was uncertain holds its slot until it is shown that no event came of it.
    """
    late = iter(users)

    def is_sold_out() -> bool:
        system.claim(coupon.pk, next(late))
        time.sleep(0.5)
        return issued(coupon) == stock

    eventually(is_sold_out, within_s=len(users) / 4, what=lambda: f"{issued(coupon)} issued")


@pytest.mark.parametrize("how", ["kill", "pause"])
def test_without_redis_claims_still_work_and_with_it_again_the_gate_counts(system: System, how: str) -> None:
    coupon, users = make_coupon(stock=60), make_users(400)
    system.wait_decided([a.body["requestId"] for a in system.claim_all(coupon.pk, users[:20]).values()])

    with away("redis", how=how):
        answers = system.claim_all(coupon.pk, users[20:40])
        assert Counter(answer.status for answer in answers.values()) == {202: 20}
        eventually(lambda: issued(coupon) == 40)
        assert health(system.api.port)["redis"] == "DOWN"
        assert is_ready(system.api.port)
        assert is_ready(system.consumers[0].port)
        again = system.claim(coupon.pk, users[20])
        assert (again.status, again.code) == (409, "ALREADY_REQUESTED")
        assert again.body["requestId"] == answers[users[20]].body["requestId"]

    eventually(lambda: health(system.api.port)["redis"] == "UP")
    time.sleep(1.5)  # a process leaves a Redis that failed alone for a second
    # Killed, it is empty, and loaded by the next claim. Paused, it missed decisions, and is told of them.
    eventually(lambda: gate.issued_counts().get(coupon.pk, 40) == 40)
    answers = system.claim_all(coupon.pk, users[40:100])
    told = Counter(answer.status for answer in answers.values())
    assert told[202] <= 20
    assert told[202] + told[409] == 60
    claim_until_sold_out(system, coupon, users[100:], stock=60)
    verified(system)


def test_redis_killed_in_the_middle_of_a_crowd_over_issues_nothing(system: System) -> None:
    coupon, users = make_coupon(stock=100), make_users(300)
    answers: dict[int, HttpAnswer] = {}
    crowd = threading.Thread(target=lambda: answers.update(system.claim_all(coupon.pk, users)))
    crowd.start()
    eventually(lambda: issued(coupon) > 10)

    with away("redis"):
        time.sleep(1)
    crowd.join(60)

    statuses = system.wait_decided([a.body["requestId"] for a in answers.values() if a.status == 202])
    assert {answer.status for answer in answers.values()} == {202, 409}
    assert Counter(status["status"] for status in statuses)["ISSUED"] == issued(coupon) == 100
    verified(system)


def test_without_the_broker_claims_are_refused_in_time_and_no_slot_is_lost(system: System) -> None:
    coupon, users = make_coupon(stock=10), make_users(600)
    system.wait_decided([system.claim(coupon.pk, users[0]).body["requestId"]])

    with away("kafka", how="pause"):
        for user in users[1:9]:
            answer, elapsed_s = timed_claim(system, coupon, user)
            assert (answer.status, answer.code) == (503, "BROKER_UNAVAILABLE")
            assert int(answer.headers["Retry-After"]) >= 1
            assert elapsed_s < 10
        eventually(lambda: health(system.api.port)["kafka"] == "DOWN")
        # Each worker looks for itself, an idle one every ten seconds.
        eventually(lambda: not is_ready(system.api.port))

    eventually(lambda: is_ready(system.api.port), within_s=30)
    claim_until_sold_out(system, coupon, users[9:], stock=10)
    eventually(lambda: system.get(f"/api/coupons/{coupon.pk}/queue-size").body["queueSize"] == 0, within_s=30)
    assert not IssueOutcome.objects.filter(coupon_id=coupon.pk, status="FAILED").exists()
    verified(system)


def test_the_broker_killed_in_the_middle_of_a_crowd_loses_no_accepted_request(system: System) -> None:
    coupon, users = make_coupon(stock=400), make_users(400)
    answers: dict[int, HttpAnswer] = {}
    early, late = users[:340], users[340:]
    crowd = threading.Thread(target=lambda: answers.update(system.claim_all(coupon.pk, early, at_once=8)))
    crowd.start()
    eventually(lambda: issued(coupon) > 20)

    with away("kafka"):
        answers |= system.claim_all(coupon.pk, late, at_once=8)  # the early ones may all have been faster
        crowd.join(60)

    accepted = [answer.body["requestId"] for answer in answers.values() if answer.status == 202]
    statuses = system.wait_decided(accepted, within_s=60)
    assert {answer.status for answer in answers.values()} == {202, 503}
    assert {status["status"] for status in statuses} == {"ISSUED"}
    # Whoever was told an id with the 503 learns what became of it.
    uncertain = [a.body["requestId"] for a in answers.values() if a.status == 503 and a.body["requestId"]]
    told = system.wait_decided(uncertain, within_s=75)
    assert {(status["status"], status["reason"]) for status in told} <= {
        ("ISSUED", None),
        ("REJECTED", "BROKER_UNAVAILABLE"),
    }


def test_without_the_database_nothing_is_lost_and_nothing_becomes_a_dead_letter(system: System) -> None:
    coupon, users = make_coupon(stock=40), make_users(60)
    with system.consumers[0].paused():
        answers = system.claim_all(coupon.pk, users)
        accepted = [answer.body["requestId"] for answer in answers.values() if answer.status == 202]
        assert len(accepted) == 40
        services("kill", "mariadb")
    try:
        eventually(lambda: not is_ready(system.consumers[0].port), within_s=20)
        refused, elapsed_s = timed_claim(system, coupon, users[0])
        assert (refused.status, refused.code) == (503, "INTERNAL_ERROR")
        assert int(refused.headers["Retry-After"]) >= 1
        assert elapsed_s < 10
        assert ask(system.api.port, "GET", "/actuator/health/liveness").status == 200
    finally:
        services("start", "mariadb")
        connection.close()

    statuses = system.wait_decided(accepted, within_s=60)

    assert [status["status"] for status in statuses] == ["ISSUED"] * 40
    assert issued(coupon) == 40
    assert not DeadLetter.objects.exists()
    eventually(lambda: is_ready(system.consumers[0].port), within_s=40)
    verified(system)


def test_liveness_answers_while_every_thread_waits_for_a_database_that_hangs(system: System) -> None:
    waiting = ThreadPoolExecutor(40)
    with away("mariadb", how="pause"):
        for _ in range(40):
            waiting.submit(system.status, str(uuid4()))
        time.sleep(1)

        answer = ask(system.api.port, "GET", "/actuator/health/liveness", patience_s=3)

        assert answer.status == 200
    waiting.shutdown()
