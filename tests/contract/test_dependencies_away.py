"""A dependency that is not there: what still works, what is refused, and what health says."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from prometheus_client.parser import text_string_to_metric_families

from dev.processes import free_port
from tests.factories import make_coupon, make_users
from tests.system import HttpAnswer, Process, System, ask, eventually


@contextmanager
def started(server: Process) -> Iterator[Process]:
    """A process more, for as long as the block runs. It need not be ready."""
    server.start()
    try:
        eventually(
            lambda: ask(server.port, "GET", "/actuator/health/liveness").status == 200,
            within_s=20,
            what=server.output,
        )
        yield server
    finally:
        server.kill()


def health(server: Process) -> dict[str, str]:
    """Each component's state."""
    answer = ask(server.port, "GET", "/actuator/health")
    assert answer.status == (200 if answer.body["status"] == "UP" else 503)
    return {name: component["status"] for name, component in answer.body["components"].items()}


def readiness(server: Process) -> int:
    return ask(server.port, "GET", "/actuator/health/readiness").status


def claim(server: Process, coupon_id: int, user_id: int) -> HttpAnswer:
    return ask(server.port, "POST", f"/api/coupons/{coupon_id}/issue?userId={user_id}")


def nowhere() -> str:
    return f"127.0.0.1:{free_port()}"


@pytest.fixture(scope="module")
def without_redis(running: System) -> Iterator[Process]:
    with started(running.new_api(REDIS_URL=f"redis://{nowhere()}/0")) as server:
        yield server


@pytest.fixture(scope="module")
def without_broker(running: System) -> Iterator[Process]:
    with started(running.new_api(KAFKA_BOOTSTRAP_SERVERS=nowhere())) as server:
        yield server


@pytest.fixture(scope="module")
def without_database(running: System) -> Iterator[Process]:
    with started(running.new_api(DATABASE_URL="sqlite:////nowhere/at/all.sqlite3")) as server:
        yield server


def test_without_redis_claims_are_accepted_and_issued(running: System, without_redis: Process) -> None:
    coupon, [user] = make_coupon(), make_users(1)

    accepted = claim(without_redis, coupon.pk, user)

    assert accepted.status == 202
    running.wait_decided([accepted.body["requestId"]])
    again = claim(without_redis, coupon.pk, user)
    assert (again.status, again.code) == (409, "ALREADY_REQUESTED")
    assert again.body["requestId"] == accepted.body["requestId"]


def test_without_redis_a_request_under_way_is_found_in_the_log(
    running: System, without_redis: Process
) -> None:
    coupon, [user] = make_coupon(), make_users(1)
    with running.consumers[0].paused():
        request_id = claim(without_redis, coupon.pk, user).body["requestId"]

        answer = ask(without_redis.port, "GET", f"/api/coupons/requests/{request_id}")
        queue = ask(without_redis.port, "GET", f"/api/coupons/{coupon.pk}/queue-size")

    assert (answer.status, answer.body["status"]) == (200, "PENDING")
    assert (queue.status, queue.body["queueSize"]) == (200, 1)


def test_without_redis_sold_out_is_sold_out(without_redis: Process) -> None:
    answer = claim(without_redis, make_coupon(stock=0).pk, make_users(1)[0])

    assert (answer.status, answer.code) == (409, "OUT_OF_STOCK")


def test_without_redis_health_says_so_and_readiness_does_not_mind(without_redis: Process) -> None:
    assert health(without_redis) == {"db": "UP", "redis": "DOWN", "kafka": "UP"}
    assert readiness(without_redis) == 200

    text = ask(without_redis.port, "GET", "/actuator/prometheus").body
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert families["coupon_gate_failures"].samples[0].value >= 1


def test_without_the_broker_a_claim_is_refused_in_time_and_told_when_to_come_back(
    without_broker: Process,
) -> None:
    coupon, [user] = make_coupon(), make_users(1)

    started_at = time.monotonic()
    korean = claim(without_broker, coupon.pk, user)
    elapsed_s = time.monotonic() - started_at

    assert (korean.status, korean.code) == (503, "BROKER_UNAVAILABLE")
    assert elapsed_s < 10
    assert int(korean.headers["Retry-After"]) >= 1
    assert set(korean.body) == {"success", "code", "message", "requestId"}


def test_without_the_broker_a_crowd_is_refused_in_time_as_well(running: System) -> None:
    coupon, users = make_coupon(), make_users(8)

    def timed_claim(user: int) -> tuple[int, float]:
        started_at = time.monotonic()
        answer = claim(server, coupon.pk, user)
        return answer.status, time.monotonic() - started_at

    with (
        started(running.new_api(KAFKA_BOOTSTRAP_SERVERS=nowhere())) as server,
        ThreadPoolExecutor(8) as crowd,
    ):
        answers = list(crowd.map(timed_claim, users))

    assert {status for status, _ in answers} == {503}
    assert max(elapsed_s for _, elapsed_s in answers) < 10


def test_without_the_broker_refusals_that_need_none_are_told_as_ever(without_broker: Process) -> None:
    assert claim(without_broker, 987_654, make_users(1)[0]).code == "COUPON_NOT_FOUND"
    assert (
        claim(without_broker, make_coupon(coupon_status="CLOSED").pk, make_users(1)[0]).code
        == "COUPON_CLOSED"
    )
    assert ask(without_broker.port, "GET", f"/api/coupons/{make_coupon().pk}").status == 200


def test_without_the_broker_a_refused_user_may_claim_when_it_is_back(
    running: System, without_broker: Process
) -> None:
    coupon, [user] = make_coupon(stock=1), make_users(1)
    eventually(lambda: claim(without_broker, coupon.pk, user).body["requestId"] == "", within_s=10)

    assert running.claim(coupon.pk, user).status == 202


def test_without_the_broker_health_and_readiness_say_so(without_broker: Process) -> None:
    eventually(lambda: health(without_broker)["kafka"] == "DOWN", within_s=10)

    assert readiness(without_broker) == 503
    assert ask(without_broker.port, "GET", "/actuator/health/liveness").status == 200


def test_without_the_database_the_answer_is_503_and_shows_no_trace(without_database: Process) -> None:
    for answer in (
        claim(without_database, 1, 1),
        ask(without_database.port, "GET", "/api/coupons/1"),
        ask(without_database.port, "GET", "/api/coupons/users/1"),
    ):
        assert (answer.status, answer.code) == (503, "INTERNAL_ERROR")
        assert int(answer.headers["Retry-After"]) >= 1
        assert "Traceback" not in str(answer.body)
        assert "sqlite" not in str(answer.body).lower()


def test_without_the_database_health_and_readiness_say_so(without_database: Process) -> None:
    assert health(without_database)["db"] == "DOWN"
    assert readiness(without_database) == 503
    assert ask(without_database.port, "GET", "/actuator/health/liveness").status == 200


def test_a_consumer_without_the_broker_is_alive_and_not_ready(running: System) -> None:
    with started(running.new_consumer(KAFKA_BOOTSTRAP_SERVERS=nowhere())) as consumer:
        eventually(lambda: health(consumer)["kafka"] == "DOWN", within_s=10)

        assert readiness(consumer) == 503
        assert health(consumer)["consumer"] == "DOWN"


def test_a_taken_health_port_is_one_line_that_names_it(running: System) -> None:
    taken = str(running.consumers[0].port)
    consumer = running.new_consumer("--health-port", taken)

    consumer.start()

    assert consumer.process.wait(30) == 1
    assert consumer.output().startswith(f"cannot listen on 127.0.0.1:{taken}")
    assert "--health-port" in consumer.output()
    assert len(consumer.output().splitlines()) == 1
