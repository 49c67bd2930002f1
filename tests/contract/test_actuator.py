"""Health, info and metrics, on the API's port and on the consumer's."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from runtime import __version__
from tests import broker
from tests.factories import make_coupon, make_users
from tests.system import HttpAnswer, Process, System, ask, eventually


def server(running: System, role: str) -> Process:
    return running.api if role == "api" else running.consumers[0]


both = pytest.mark.parametrize("role", ["api", "consumer"])
UP = {"status": "UP"}


def get(running: System, role: str, path: str) -> HttpAnswer:
    return ask(server(running, role).port, "GET", path)


@both
def test_health_has_spring_actuators_shape(running: System, role: str) -> None:
    answer = get(running, role, "/actuator/health")

    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert set(answer.body) == {"status", "components"}
    assert answer.body["status"] == "UP"
    components = answer.body["components"]
    assert {"db", "redis", "kafka"} <= set(components)
    for component in components.values():
        assert component["status"] == "UP"
        assert set(component) <= {"status", "details"}


@both
def test_liveness_looks_at_no_dependency(running: System, role: str) -> None:
    answer = get(running, role, "/actuator/health/liveness")

    assert answer.status == 200
    assert answer.body == UP | {"components": {"livenessState": UP}}


@both
def test_readiness_does_not_wait_for_redis(running: System, role: str) -> None:
    answer = get(running, role, "/actuator/health/readiness")

    assert answer.status == 200
    assert answer.body["status"] == "UP"
    assert {"db", "kafka"} <= set(answer.body["components"])
    assert "redis" not in answer.body["components"]


def test_the_consumer_tells_its_partitions(running: System) -> None:
    answer = get(running, "consumer", "/actuator/health")

    assert answer.body["components"]["consumer"] == UP | {"details": {"partitions": [0, 1, 2]}}


@both
def test_info_tells_the_build(running: System, role: str) -> None:
    answer = get(running, role, "/actuator/info")

    assert answer.status == 200
    assert answer.body["app"] == {"name": "coupon-system", "version": __version__}
    assert answer.body["process"]["startedAt"] <= time.time_ns() // 1_000_000


@both
def test_an_address_with_nothing_is_not_found(running: System, role: str) -> None:
    answer = get(running, role, "/actuator/env")

    assert answer.status == 404
    assert answer.headers["Content-Type"] == "application/json"


@both
def test_head_is_get_without_the_body(running: System, role: str) -> None:
    for path in ("/actuator/health", "/actuator/prometheus"):
        answer = ask(server(running, role).port, "HEAD", path)
        assert (answer.status, answer.body) == (200, "")


def metrics(running: System, role: str) -> dict[str, Metric]:
    answer = get(running, role, "/actuator/prometheus")
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("text/plain")
    return {family.name: family for family in text_string_to_metric_families(answer.body)}


def total(families: dict[str, Metric], sample: str, **labels: str) -> float:
    """The sum of a sample over all labels not named."""
    return sum(
        each.value
        for family in families.values()
        for each in family.samples
        if each.name == sample and labels.items() <= each.labels.items()
    )


def test_the_api_counts_its_answers_and_times_its_publishes(running: System) -> None:
    coupon, [user] = make_coupon(), make_users(1)
    running.claim(coupon.pk, user)
    before = metrics(running, "api")

    running.claim(coupon.pk, make_users(1)[0])
    running.claim(coupon.pk, user)
    running.claim(coupon.pk, 0)

    after = metrics(running, "api")
    for outcome in ("ACCEPTED", "ALREADY_REQUESTED", "INVALID_REQUEST"):
        assert (
            total(after, "coupon_claims_total", outcome=outcome)
            == total(before, "coupon_claims_total", outcome=outcome) + 1
        )
    assert total(after, "coupon_claim_seconds_count") == total(before, "coupon_claim_seconds_count") + 3
    assert total(after, "coupon_publish_seconds_count") == total(before, "coupon_publish_seconds_count") + 1
    assert total(after, "coupon_producer_up") >= 1


def test_a_second_api_on_a_port_that_is_taken_leaves_the_first_ones_counts(running: System) -> None:
    coupon, [user] = make_coupon(), make_users(1)
    running.claim(coupon.pk, user)
    before = total(metrics(running, "api"), "coupon_claims_total")
    second = replace(running.api, log=running.folder / "second-api.out")

    second.start()
    assert second.process.wait(30) != 0, second.output()

    assert total(metrics(running, "api"), "coupon_claims_total") == before > 0


def test_the_consumer_counts_what_it_decides(system: System) -> None:
    """On a system of its own: whatever another test left under way would be counted too."""
    coupon, users = make_coupon(), make_users(3)

    accepted = [system.claim(coupon.pk, user).body["requestId"] for user in users]
    system.wait_decided(accepted)
    broker.write(system.topic, b"broken")

    def counted(sample: str, **labels: str) -> float:
        return total(metrics(system, "consumer"), sample, **labels)

    # Counted after the commit: a status may be seen before its count.
    eventually(lambda: counted("coupon_batch_size_sum") == 4)
    eventually(lambda: counted("coupon_batch_seconds_count") == counted("coupon_batch_size_count") >= 2)
    assert counted("coupon_dead_letters_total", reason="NOT_JSON") == 1
    assert counted("coupon_events_consumed_total") == 4
    assert counted("coupon_events_decided_total", decision="ISSUED") == 3
    assert counted("coupon_lock_wait_seconds_count") >= 1


def test_the_consumer_tells_its_lag_and_the_age_of_the_oldest_undecided_event(running: System) -> None:
    coupon, [user] = make_coupon(), make_users(1)
    running.wait_decided([running.claim(coupon.pk, user).body["requestId"]])

    families = metrics(running, "consumer")

    assert {"partition"} == {name for each in families["coupon_consumer_lag"].samples for name in each.labels}
    eventually(lambda: total(metrics(running, "consumer"), "coupon_consumer_lag") == 0)
    eventually(lambda: total(metrics(running, "consumer"), "coupon_oldest_undecided_seconds") == 0)


@both
def test_every_metric_says_what_it_is(running: System, role: str) -> None:
    ours = [family for name, family in metrics(running, role).items() if name.startswith("coupon_")]

    assert ours
    assert all(family.documentation for family in ours)
