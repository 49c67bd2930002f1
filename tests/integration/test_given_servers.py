"""The suite on somebody else's servers: what is theirs stays, and what is the tests' goes."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from confluent_kafka.admin import AdminClient
from django.conf import settings
from django_redis import get_redis_connection

from tests.conftest import own_topic
from tests.given import GivenServersRefused, given, versions
from tests.stack import own_services
from tests.system import eventually

needs_servers = pytest.mark.services_only


@pytest.fixture
def servers() -> Iterator[dict[str, str]]:
    own_services().sql("CREATE DATABASE test_of_somebody; CREATE TABLE test_of_somebody.precious (id INT)")
    url = os.environ["DATABASE_URL"].rpartition("/")[0] + "/test_of_somebody"
    yield {**os.environ, "DATABASE_URL": url}
    own_services().sql("DROP DATABASE test_of_somebody")


def databases() -> set[str]:
    return set(own_services().sql("SHOW DATABASES").split())


def topics() -> set[str]:
    client = AdminClient({"bootstrap.servers": settings.CONFIG.kafka.bootstrap_servers})
    return set(client.list_topics(timeout=10).topics)


@needs_servers
def test_what_the_tests_made_goes_and_all_else_stays(servers: dict[str, str]) -> None:
    before = databases(), topics()

    with given(servers) as environment:
        own = environment["DATABASE_URL"].rpartition("/")[2]
        assert databases() - before[0] == {own}
        with own_topic() as topic:
            get_redis_connection("default").set("left", "by a test")
        assert topic in topics()
        assert versions(environment)["database"].startswith(("MariaDB ", "MySQL "))

    assert databases() == before[0]
    eventually(lambda: topics() == before[1])  # a deleted topic may be told for a moment
    assert get_redis_connection("default").dbsize() == 0
    assert own_services().sql("SHOW TABLES FROM test_of_somebody").split()[-1] == "precious"


@needs_servers
def test_a_redis_that_holds_anything_is_refused_and_left_alone(servers: dict[str, str]) -> None:
    get_redis_connection("default").set("precious", "1")

    with pytest.raises(GivenServersRefused, match=r"REDIS_URL holds keys \(db0\)"), given(servers):
        pass

    assert get_redis_connection("default").get("precious") == b"1"


@needs_servers
def test_a_database_of_that_name_is_refused_and_left_alone(servers: dict[str, str]) -> None:
    name = f"test_given_{os.getpid()}"
    own_services().sql(f"CREATE DATABASE {name}; CREATE TABLE {name}.precious (id INT)")

    with pytest.raises(GivenServersRefused, match="drop it if it is yours"), given(servers):
        pass

    assert own_services().sql(f"SHOW TABLES FROM {name}").split()[-1] == "precious"
    own_services().sql(f"DROP DATABASE {name}")


@needs_servers
@pytest.mark.parametrize("name", ["DATABASE_URL", "REDIS_URL", "KAFKA_BOOTSTRAP_SERVERS"])
def test_a_server_that_is_not_reached_is_named(servers: dict[str, str], name: str) -> None:
    away = {
        "DATABASE_URL": "mysql://a:b@127.0.0.1:1/c",
        "REDIS_URL": "redis://127.0.0.1:1/0",
        "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
    }
    with pytest.raises(GivenServersRefused, match=name), given(servers | {name: away[name]}):
        pass


def test_all_three_must_be_named() -> None:
    missing = pytest.raises(GivenServersRefused, match="needs REDIS_URL, KAFKA_BOOTSTRAP_SERVERS")
    with missing, given({"DATABASE_URL": "mysql://a:b@c/d", "REDIS_URL": ""}):
        pass
