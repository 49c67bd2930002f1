"""The servers the tests run on: a pytest plugin, loaded before Django reads its settings.

COUPON_TEST_STACK=embedded (default): SQLite, Redis and the embedded broker.
COUPON_TEST_STACK=services: MariaDB or MySQL, Redis, Apache Kafka, started by deploy.services in a
folder and on ports of their own. Whatever was started is stopped at the end.
"""

from __future__ import annotations

import json
import os
import random
import socket
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest

PROJECT = Path(__file__).resolve().parent.parent
KIND = os.environ.get("COUPON_TEST_STACK", "embedded")
_SERVICES = PROJECT / ".test-stacks" / "services"
_running = ExitStack()
_embedded_versions = {"database": f"SQLite {sqlite3.sqlite_version}"}


def free_port(*, in_a_row: int = 1) -> int:
    """The first of so many free ports, none of which an outgoing connection may take.

    A server that is killed and started again must find its port free.
    """
    for _ in range(1000):
        first = random.randint(15_000, 32_000)
        if all(_is_free(port) for port in range(first, first + in_a_row)):
            return first
    raise RuntimeError("no free port from 15000 to 32000 was found in 1000 tries: see `ss -ltn`")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def services(*words: str) -> str:
    """Run a command of deploy.services on the tests' servers and return what it printed."""
    return subprocess.run(
        [sys.executable, "-m", "deploy.services", *words, "--dir", str(_SERVICES)],
        cwd=PROJECT,
        check=True,
        capture_output=True,
        text=True,
        timeout=400,
    ).stdout


@contextmanager
def _embedded(folder: Path) -> Iterator[Mapping[str, str]]:
    from embedded.stack import start_broker, start_redis

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
def _services() -> Iterator[Mapping[str, str]]:
    # Kafka takes the next port too.
    ports = {f"--{name}-port": str(free_port(in_a_row=2)) for name in ("mariadb", "redis", "kafka")}
    services("stop")
    services("start", *(word for pair in ports.items() for word in pair))
    try:
        database = f"test_{os.getpid()}"
        services("sql", f"CREATE DATABASE {database}")
        yield {
            "DATABASE_URL": (
                f"mysql://application:application@127.0.0.1:{ports['--mariadb-port']}/{database}"
            ),
            "REDIS_URL": f"redis://127.0.0.1:{ports['--redis-port']}/0",
            "KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{ports['--kafka-port']}",
        }
        services("sql", f"DROP DATABASE {database}")
    finally:
        services("stop")


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None, None, None]:
    folder = Path(_running.enter_context(tempfile.TemporaryDirectory(prefix="coupon-tests-")))
    kinds = {"embedded": lambda: _embedded(folder), "services": _services}
    if KIND not in kinds:
        raise pytest.UsageError(f"COUPON_TEST_STACK={KIND}: it must be embedded or services")
    try:
        environment = _running.enter_context(kinds[KIND]())
    except subprocess.CalledProcessError as error:
        _running.close()
        reason = (error.stderr or error.stdout).strip()
        if report := os.environ.get("COUPON_TEST_REPORT"):
            Path(report).write_text(f"{reason.splitlines()[-1]}\n")
        raise pytest.UsageError(f"the servers did not start: {reason}") from error
    os.environ.update(environment)
    os.environ.update(
        SECRET_KEY="only-for-tests",
        DEBUG="false",
        COUPON_LOG_DIR=str(folder / "logs"),
        COUPON_TOPIC=f"events-{os.getpid()}",
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
        report = json.loads(services("status", "--json"))
        return {row["name"]: row["version"] for row in report["services"]}
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
