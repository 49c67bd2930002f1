"""The servers the tests run on: a pytest plugin, loaded before Django reads its settings.

COUPON_TEST_STACK=embedded (default): SQLite, Redis and the embedded broker.
COUPON_TEST_STACK=services: MariaDB or MySQL (SERVICES_DATABASE=mysql), Redis, Apache Kafka, started by
dev.services in a folder and on ports of their own. Whatever was started is stopped at the end.
COUPON_TEST_STACK=given: the servers of DATABASE_URL, REDIS_URL and KAFKA_BOOTSTRAP_SERVERS (tests/given.py).
"""

from __future__ import annotations

import json
import os
import secrets
import sqlite3
import tempfile
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from fcntl import LOCK_EX, flock
from pathlib import Path
from urllib.parse import quote

import pytest

from dev.processes import PROJECT
from dev.servers import ServiceError
from dev.services.own import Services
from tests.given import GivenServersRefused, given
from tests.given import versions as given_versions

KIND = os.environ.get("COUPON_TEST_STACK", "embedded")
_LANE = os.environ.get("COUPON_TEST_LANE", "1")
_FOLDERS = PROJECT / ".test-stacks"
_services = Services(folder=_FOLDERS / ("services" if _LANE == "1" else f"services-{_LANE}"))
_running = ExitStack()
_embedded_versions = {"database": f"SQLite {sqlite3.sqlite_version}"}


def own_services() -> Services:
    """The tests' servers, for tests that are marked services_only."""
    return _services


def services(*words: str) -> str:
    """Run a command of dev.services on the tests' servers and return what it printed."""
    return _services.run(*words)


@contextmanager
def _embedded(folder: Path) -> Iterator[Mapping[str, str]]:
    from dev.embedded.stack import start_broker, start_redis

    with ExitStack() as started:
        redis = start_redis(directory=folder)
        started.callback(redis.stop)
        broker = start_broker(directory=folder)
        started.callback(broker.stop)
        _embedded_versions.update(redis=redis.origin, broker=broker.origin)
        yield {
            **redis.env,
            **broker.env,
            "DATABASE_URL": f"sqlite:///{quote(str(folder))}/tests.sqlite3",
        }


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """On a new machine the first lane downloads what the others then take from Maven's own store."""
    if (_services.folder / "kafka-libs").exists():
        yield
        return
    _FOLDERS.mkdir(exist_ok=True)
    with (_FOLDERS / "starting").open("w") as file:
        flock(file, LOCK_EX)
        yield


@contextmanager
def _real() -> Iterator[Mapping[str, str]]:
    try:
        with _one_at_a_time():
            _services.start()
        database = f"test_{os.getpid()}"
        _services.make_database(database)
        yield _services.environment()
        _services.sql(f"DROP DATABASE {database}")
    finally:
        _services.stop()


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None, None, None]:
    folder = Path(_running.enter_context(tempfile.TemporaryDirectory(prefix="coupon-tests-")))
    kinds: dict[str, Callable[[], AbstractContextManager[Mapping[str, str]]]] = {
        "embedded": lambda: _embedded(folder),
        "services": _real,
        "given": lambda: given(os.environ),
    }
    if KIND not in kinds:
        raise pytest.UsageError(f"COUPON_TEST_STACK={KIND}: it must be embedded, services or given")
    try:
        environment = _running.enter_context(kinds[KIND]())
    except (ServiceError, GivenServersRefused) as error:
        _running.close()
        reason = str(error)
        if report := os.environ.get("COUPON_TEST_REPORT"):
            Path(report).write_text(f"{reason.splitlines()[-1]}\n")
        raise pytest.UsageError(f"the servers cannot be used: {reason}") from error
    os.environ.update(environment)
    os.environ.update(
        SECRET_KEY=secrets.token_hex(32),
        DEBUG="false",
        COUPON_LOG_DIR=str(folder / "logs"),
        COUPON_TOPIC=f"events-{os.getpid()}",
        COUPON_LANGUAGE="en",  # whatever the developer's shell speaks
        # What each test waits for: short on a machine that does nothing else.
        COUPON_CONSUMER_SESSION_TIMEOUT_MS="6000",
        COUPON_PUBLISH_TIMEOUT_MS="3000",
    )
    yield


def pytest_report_header() -> str:
    return f"stack: {KIND}: {json.dumps(versions())}"


def versions() -> dict[str, str]:
    """What the tests run on, for the report."""
    if KIND == "services":
        return _services.versions()
    if KIND == "given":
        return given_versions(os.environ)
    return _embedded_versions


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """For `make test`: what ran, and on what."""
    if report := os.environ.get("COUPON_TEST_REPORT"):
        kinds = ("passed", "failed", "error", "skipped")
        counts = {kind: len(terminalreporter.getreports(kind)) for kind in kinds}
        told = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)
        Path(report).write_text(f"{told}\n{', '.join(versions().values())}\n")


def pytest_unconfigure() -> None:
    _running.close()
