"""Errors reach the Sentry that is named, with their trace and without values; else nothing is imported."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from coupons.eventlog.delivery import Record
from coupons.eventlog.events import partition_key
from coupons.eventlog.producer import event_producer
from dev.processes import PROJECT
from tests.system import System, eventually


class Sentry(HTTPServer):
    """Keeps what it is sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.sent: list[str] = []

    @property
    def dsn(self) -> str:
        return f"http://key@127.0.0.1:{self.server_port}/7"


class _Handler(BaseHTTPRequestHandler):
    server: Sentry

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        is_packed = self.headers.get("Content-Encoding") == "gzip"
        self.server.sent.append((gzip.decompress(body) if is_packed else body).decode())
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing on the terminal."""


@pytest.fixture
def sentry() -> Iterator[Sentry]:
    with Sentry() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join(5)


def run(script: str, **env: str) -> subprocess.CompletedProcess[str]:
    setup = "import django, logging, sys; django.setup(); log = logging.getLogger('coupons')\n"
    return subprocess.run(
        [sys.executable, "-c", setup + script],
        cwd=PROJECT,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_an_error_is_reported_with_its_trace_and_without_values(sentry: Sentry) -> None:
    script = (
        "hidden = 'a-secret-value'\n"
        "try:\n    1 / 0\nexcept ZeroDivisionError:\n    log.exception('it broke')\nlog.warning('only this')"
    )
    done = run(script, COUPON_SENTRY_DSN=sentry.dsn, COUPON_SENTRY_ENVIRONMENT="stage")

    assert done.returncode == 0, done.stderr
    [report] = sentry.sent
    for told in ("it broke", "ZeroDivisionError", '"environment":"stage"', "coupon-system@"):
        assert told in report
    assert "a-secret-value" not in report
    assert "only this" not in report


def test_what_ends_the_process_is_reported(sentry: Sentry) -> None:
    run("raise RuntimeError('the end')", COUPON_SENTRY_DSN=sentry.dsn)

    assert any("the end" in report for report in sentry.sent)


def test_without_the_setting_nothing_is_imported() -> None:
    done = run("print([name for name in sys.modules if name.startswith('sentry')])")

    assert done.stdout.strip() == "[]"


def test_a_sentry_that_is_away_holds_up_nothing() -> None:
    done = run("log.error('nobody hears'); print('on')", COUPON_SENTRY_DSN="http://key@127.0.0.1:1/7")

    assert (done.returncode, done.stdout) == (0, "on\n")


def test_a_consumer_reports_what_it_logs(transactional_db: None, topic: str, sentry: Sentry) -> None:
    with System(topic=topic, env={"COUPON_SENTRY_DSN": sentry.dsn}):
        event_producer().publish([Record(key=partition_key(1), value=b"rubbish")])

        eventually(lambda: any("dead letter" in report for report in sentry.sent))
