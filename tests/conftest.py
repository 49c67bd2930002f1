"""Fixtures on real servers. What a test fakes, it makes itself, in sight."""

from __future__ import annotations

import io
import uuid
from collections.abc import Generator, Iterator
from contextlib import contextmanager

import pytest
from django.core.management import call_command
from django_redis import get_redis_connection
from pytest_django.plugin import DjangoDbBlocker

from coupons import coupon_cache
from coupons.eventlog import backlog
from coupons.eventlog.producer import close_event_producer
from coupons.gate.admission import gate
from dev import topics
from runtime import greenlets
from tests import stack
from tests.system import System


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "services_only: kills servers or deletes records, which only dev.services' own may suffer",
    )
    config.addinivalue_line("markers", "whole_wait: waits (on a clock that jumps) as long as in production")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if stack.KIND == "services":
        return
    elsewhere = [item for item in items if item.get_closest_marker("services_only")]
    items[:] = [item for item in items if item not in elsewhere]
    config.hook.pytest_deselected(items=elsewhere)


#: Characters of each log that a failed test shows. Fewer, and a trace is cut; more, and nobody reads them.
_TAIL = 12_000


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that failed shows what its processes wrote: a 500 tells a client nothing of its cause."""
    report = yield
    fixtures = getattr(item, "funcargs", {})
    system = fixtures.get("system") or fixtures.get("running")
    if report.failed and isinstance(system, System):
        for log in sorted((*system.folder.glob("*.out"), *system.folder.glob("*/*.log"))):
            told = log.read_text(errors="replace")[-_TAIL:]
            report.sections.append((f"the end of {log.relative_to(system.folder)}", told))
    return report


@pytest.fixture(scope="session")
def django_db_setup(django_db_blocker: DjangoDbBlocker) -> None:
    """The stack's database is thrown away after the tests: use it as it is, so that processes can too."""
    with django_db_blocker.unblock():
        call_command("migrate", verbosity=0)


@pytest.fixture(autouse=True, scope="session")
def _default_topic() -> None:
    """For code that looks at the broker in tests that publish nothing."""
    call_command("create_topics", stdout=io.StringIO())


@pytest.fixture(autouse=True)
def _nothing_remembered() -> None:
    """Each test begins with an empty Redis, and remembers no coupons, no failure and no earlier topic."""
    coupon_cache.forget_all()
    backlog.forget_failure()
    gate.forget_failure()
    close_event_producer()
    get_redis_connection("default").flushdb()


@pytest.fixture
def in_a_loop() -> Iterator[None]:
    """The test's own thread answers, as a gunicorn worker's does."""
    greenlets.start()
    yield
    greenlets.stop()


@contextmanager
def own_topic() -> Iterator[str]:
    """A new topic, with its dead letters and its group, for code in this process."""
    with topics.own_topic(f"events-{uuid.uuid4().hex[:12]}") as name:
        yield name
        close_event_producer()


@pytest.fixture
def topic() -> Iterator[str]:
    """A topic of this test alone."""
    with own_topic() as name:
        yield name


@pytest.fixture
def system(transactional_db: None, topic: str) -> Iterator[System]:
    """The API and consumers as processes, started as in production, on the test's own topic."""
    with System(topic=topic) as running:
        yield running


@pytest.fixture(scope="module")
def running(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[System]:
    """API and one consumer. Tests of a file share them and the database; each makes rows of its own."""
    with django_db_blocker.unblock(), own_topic() as name:
        with System(topic=name) as system:
            yield system
        call_command("flush", interactive=False, verbosity=0)
