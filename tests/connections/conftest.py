"""Each server is started once for all of these tests, when the first of them needs it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from dev.clusters import brokers as three_brokers
from dev.clusters import certificates as certificates_of
from dev.clusters import database, redis
from dev.clusters.brokers import Brokers
from dev.clusters.certificates import Certificates
from dev.clusters.redis import Server
from dev.services.kafka import Kafka
from dev.services.stack import Stack
from tests import stack
from tests.connections import kafka


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of them start servers that only the services' machine has."""
    folder = Path(__file__).parent
    for item in items:
        if folder in item.path.parents:
            item.add_marker("services_only")


@pytest.fixture(autouse=True, scope="package")
def _migrated(django_db_setup: None) -> None:
    """The tests' own database, which these use where the database is not what they are about."""


@pytest.fixture(scope="package")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("connections")


@pytest.fixture(scope="package")
def own_stack() -> Stack:
    """The tests' own servers: these ones are of the same kinds."""
    return Stack(directory=stack.own_services().folder.resolve(), asked_ports={})


@pytest.fixture(scope="package")
def certificates(folder: Path) -> Certificates:
    return certificates_of.make(folder / "certificates")


@pytest.fixture(scope="package")
def brokers(folder: Path, own_stack: Stack, certificates: Certificates) -> Iterator[Mapping[str, str]]:
    libs = Kafka(stack=own_stack).libs
    with kafka.kafka(folder / "kafka", libs=libs, certificates=certificates) as addresses:
        yield addresses


@pytest.fixture(scope="module")
def three(
    tmp_path_factory: pytest.TempPathFactory, own_stack: Stack, certificates: Certificates
) -> Iterator[Brokers]:
    """Three brokers, of this file alone, which may kill them."""
    folder, libs = tmp_path_factory.mktemp("three-brokers"), Kafka(stack=own_stack).libs
    with three_brokers.running(folder, libs=libs, certificates=certificates) as running:
        yield running


@pytest.fixture(scope="package")
def redis_server(folder: Path, certificates: Certificates) -> Iterator[Server]:
    with redis.server(folder / "redis", certificates) as server:
        yield server


@pytest.fixture(scope="package")
def redis_nodes(folder: Path, certificates: Certificates) -> Iterator[Sequence[Server]]:
    with redis.cluster(folder / "cluster", certificates) as nodes:
        yield nodes


@pytest.fixture
def redis_with_sentinel(tmp_path: Path, certificates: Certificates) -> Iterator[tuple[Server, Server, int]]:
    """Master, replica, and the Sentinel's port: of this test alone, which may kill what it likes."""
    with redis.replicated(tmp_path / "replicated", certificates) as servers:
        yield servers


@pytest.fixture(scope="package")
def database_with_tls(folder: Path, own_stack: Stack, certificates: Certificates) -> Iterator[str]:
    with database.database(folder / "database", like=own_stack, certificates=certificates) as url:
        yield url


@pytest.fixture(scope="package")
def database_without_tls(folder: Path, own_stack: Stack) -> Iterator[str]:
    with database.database(folder / "clear-database", like=own_stack, certificates=None) as url:
        yield url
