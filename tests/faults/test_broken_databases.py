"""Processes on a database that cannot work: refused at start in one line, DOWN with the cause later on."""

from __future__ import annotations

import re

import pytest

from dev.processes import free_port
from tests.own_database import own_database, sql
from tests.system import Process, System, ask, eventually

pytestmark = pytest.mark.django_db(transaction=True)


def _server(system: System, kind: str, url: str) -> Process:
    return {"api": system.new_api, "consumer": system.new_consumer}[kind](DATABASE_URL=url)


@pytest.fixture
def stopped(topic: str) -> System:
    """Nothing runs; the test starts what it wants."""
    return System(topic=topic, consumers=0)


@pytest.mark.parametrize("kind", ["api", "consumer"])
def test_a_database_that_is_not_migrated_ends_the_start_with_one_line(stopped: System, kind: str) -> None:
    with own_database(migrated=False) as url:
        server = _server(stopped, kind, url)
        server.start()
        try:
            assert server.process.wait(60) == 1
        finally:
            server.kill()

    [line] = server.output().strip().splitlines()
    assert re.fullmatch(
        r"(CommandError: )?the database cannot be worked on: it is not migrated \(.*\)\. "
        r"Mend it with: python manage\.py migrate",
        line,
    )


@pytest.mark.services_only
@pytest.mark.parametrize("kind", ["api", "consumer"])
def test_a_missing_constraint_ends_the_start_with_the_statement(stopped: System, kind: str) -> None:
    with own_database() as url:
        sql("ALTER TABLE coupon DROP CONSTRAINT coupon_stock_not_negative")
        server = _server(stopped, kind, url)
        server.start()
        try:
            assert server.process.wait(60) == 1
        finally:
            server.kill()

    [line] = server.output().strip().splitlines()
    assert "ALTER TABLE `coupon` ADD CONSTRAINT `coupon_stock_not_negative` CHECK (`stock` >= 0)" in line


@pytest.mark.parametrize("kind", ["api", "consumer"])
def test_a_database_that_is_away_is_waited_for(stopped: System, kind: str) -> None:
    server = _server(stopped, kind, f"mysql://nobody:none@127.0.0.1:{free_port()}/none")
    server.start()
    try:

        def is_alive() -> bool:
            return ask(server.port, "GET", "/actuator/health/liveness").status == 200

        eventually(is_alive, within_s=60, what=server.output)
        readiness = ask(server.port, "GET", "/actuator/health/readiness")
        assert readiness.status == 503
        assert readiness.body["components"]["db"]["status"] == "DOWN"
        assert server.process.poll() is None
    finally:
        server.kill()


def test_what_is_broken_later_makes_health_down_with_the_cause_and_mended_up_again(system: System) -> None:
    ports = [system.api.port, system.consumers[0].port]

    def causes() -> list[str]:
        answers = [ask(port, "GET", "/actuator/health/readiness") for port in ports]
        return [
            answer.body["components"]["db"].get("details", {}).get("schema", "")
            for answer in answers
            if answer.status == 503
        ]

    sql("ALTER TABLE coupon_dead_letter RENAME TO elsewhere")
    try:
        eventually(lambda: len(causes()) == 2, within_s=60, what=lambda: f"{causes()}")
        assert all("table coupon_dead_letter: the table is missing" in cause for cause in causes())
    finally:
        sql("ALTER TABLE elsewhere RENAME TO coupon_dead_letter")
    eventually(lambda: causes() == [], within_s=60, what=lambda: f"{causes()}")
