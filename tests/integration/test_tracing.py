"""A claim's trace, through real processes, to a collector; and claims where the collector is away."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from django.utils import timezone

from coupons.models import Coupon
from dev.processes import PROJECT, free_port
from tests.collector import Collector, collecting
from tests.factories import make_coupon, make_users
from tests.system import System, eventually

SERVER, SCREEN = "POST /api/coupons/{couponId}/issue", "screen"


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as running:
        yield running


def tracing(endpoint: str, **others: str) -> dict[str, str]:
    """Only what callers trace; spans are sent five times a second."""
    return {
        "COUPON_TRACING": "true",
        "COUPON_TRACING_RATIO": "0",
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_BSP_SCHEDULE_DELAY": "200",
        **others,
    }


def traceparent(*, is_sampled: bool = True) -> tuple[str, str, str]:
    """The trace, the caller's span, and the header line that tells of them."""
    trace_id, span_id = secrets.token_hex(16), secrets.token_hex(8)
    return trace_id, span_id, f"00-{trace_id}-{span_id}-{'01' if is_sampled else '00'}"


@pytest.fixture
def traced(transactional_db: None, topic: str, collector: Collector) -> Iterator[System]:
    with System(topic=topic, env=tracing(collector.endpoint)) as system:
        yield system


def test_one_trace_leads_from_the_caller_to_the_transaction(traced: System, collector: Collector) -> None:
    coupon = make_coupon(stock=1)
    [user] = make_users(1)
    trace_id, caller, header = traceparent()

    answer = traced.claim(coupon.pk, user, traceparent=header, tracestate="shop=7")
    request_id = answer.body["requestId"]
    [status] = traced.wait_decided([request_id])
    send, process = f"send {traced.topic}", f"process {traced.topic}"
    eventually(lambda: {SERVER, SCREEN, send, process} <= collector.of(trace_id).keys())
    found = collector.of(trace_id)

    assert found[SERVER].parent_id == caller
    assert found[SCREEN].parent_id == found[send].parent_id == found[SERVER].span_id
    assert found[process].parent_id == found[send].span_id
    assert found[SERVER].service == "coupon-api"
    assert found[process].service == "coupon-consumer"
    assert found[SERVER].attributes["http.response.status_code"] == 202
    assert {found[name].attributes["coupon.request_id"] for name in (SERVER, process)} == {request_id}
    for name in (send, process):
        assert found[name].attributes["messaging.destination.partition.id"] == str(status["partition"])
        assert found[name].attributes["messaging.kafka.offset"] == status["offset"]
    assert found[process].attributes["coupon.decision"] == "ISSUED"

    [batch_id] = found[process].links
    eventually(lambda: {"decide batch", "transaction"} <= {each.name for each in collector.spans})
    [batch] = [each for each in collector.spans if each.span_id == batch_id]
    [transaction] = [each for each in collector.spans if each.parent_id == batch_id]
    assert (batch.name, transaction.name) == ("decide batch", "transaction")
    assert batch.links == [found[send].span_id]

    for role, lines in (("core", ["이벤트 발행"]), ("consumer", ["처리 시작", "발급 성공"])):
        told = traced.log_text(role).splitlines()
        for line in lines:
            [found_line] = [each for each in told if line in each and request_id in each]
            assert found_line.endswith(f", TraceId: {trace_id}")


def test_the_trace_goes_on_where_a_paused_coupon_is_resumed(traced: System, collector: Collector) -> None:
    coupon = make_coupon(stock=1, deciding_paused_at=timezone.now())
    [user] = make_users(1)
    trace_id, _, header = traceparent()
    answer = traced.claim(coupon.pk, user, traceparent=header)
    send, process, resume = (f"{what} {traced.topic}" for what in ("send", "process", "resume"))
    eventually(lambda: process in collector.of(trace_id))
    assert collector.of(trace_id)[process].attributes["coupon.decision"] == "DEFERRED"

    Coupon.objects.filter(pk=coupon.pk).update(deciding_paused_at=None)
    traced.wait_decided([answer.body["requestId"]])
    eventually(lambda: resume in collector.of(trace_id))

    found = collector.of(trace_id)
    assert found[resume].parent_id == found[process].parent_id == found[send].span_id
    assert found[resume].attributes["coupon.decision"] == "ISSUED"
    [batch_id] = found[resume].links
    eventually(lambda: batch_id in {each.parent_id for each in collector.spans if each.name == "transaction"})


def test_all_that_callers_trace_arrives_and_nothing_else(traced: System, collector: Collector) -> None:
    coupon = make_coupon(stock=100)
    users = make_users(42)
    headers = [traceparent() for _ in users[:40]]
    answers = [
        traced.claim(coupon.pk, user, traceparent=header)
        for user, (_, _, header) in zip(users, headers, strict=False)
    ]
    plain = traced.claim(coupon.pk, users[40])
    unsampled_id, _, unsampled = traceparent(is_sampled=False)
    not_wanted = traced.claim(coupon.pk, users[41], traceparent=unsampled)
    refused = [
        traced.claim(coupon.pk, users[0], traceparent=wrong) for wrong in ("x", f"{unsampled}-more", "")
    ]
    traced.wait_decided([each.body["requestId"] for each in (*answers, plain, not_wanted)])
    ids = {trace_id for trace_id, _, _ in headers}

    process = f"process {traced.topic}"
    eventually(lambda: all(process in collector.of(trace_id) for trace_id in ids))

    assert {each.status for each in (*answers, plain, not_wanted)} == {202}
    assert {each.code for each in refused} == {"ALREADY_REQUESTED"}
    requested = {each.trace_id for each in collector.spans if each.name == SERVER}
    assert unsampled_id not in requested
    names = {each.attributes.get("coupon.request_id") for each in collector.spans}
    assert not names & {each.body["requestId"] for each in (plain, not_wanted)}
    [line] = [
        each
        for each in traced.log_text("core").splitlines()
        if "이벤트 발행" in each and plain.body["requestId"] in each
    ]
    assert "TraceId" not in line


def test_each_worker_sends_its_own(traced: System, collector: Collector) -> None:
    """Two of them, forked from one master."""
    coupon_id = 987_654_320
    before = len(collector.spans)

    def is_seen_by_both() -> bool:
        with ThreadPoolExecutor(10) as crowd:
            for _ in range(10):
                crowd.submit(traced.claim, coupon_id, 1, traceparent=traceparent()[2])
        spans = [each for each in collector.spans[before:] if each.name == SERVER]
        return len({each.instance for each in spans}) == 2

    eventually(is_seen_by_both, within_s=30)


def test_a_share_of_the_others_is_traced_and_a_refusal_says_why(
    transactional_db: None, topic: str, collector: Collector
) -> None:
    with System(
        topic=topic, consumers=0, env=tracing(collector.endpoint, COUPON_TRACING_RATIO="1")
    ) as system:
        refused = system.claim(987_654_321, 1)
        malformed = system.claim(987_654_322, "x")

        def told(coupon_id: int) -> dict[str, object]:
            return next(
                (
                    each.attributes
                    for each in collector.spans
                    if each.attributes.get("coupon.id") == coupon_id
                ),
                {},
            )

        eventually(lambda: bool(told(987_654_321) and told(987_654_322)))
    assert (refused.status, malformed.status) == (404, 400)
    assert told(987_654_321)["coupon.code"] == refused.code
    assert told(987_654_322)["http.response.status_code"] == 400


def test_a_process_that_stops_sends_its_last_spans(
    transactional_db: None, topic: str, collector: Collector
) -> None:
    coupon = make_coupon(stock=1)
    [user] = make_users(1)
    trace_id, _, header = traceparent()
    patient = tracing(collector.endpoint, OTEL_BSP_SCHEDULE_DELAY="3600000")
    with System(topic=topic, env=patient) as system:
        answer = system.claim(coupon.pk, user, traceparent=header)
        system.wait_decided([answer.body["requestId"]])
        assert collector.of(trace_id) == {}

        assert system.api.stop() == 0
        assert SERVER in collector.of(trace_id)
        assert [each.stop() for each in system.consumers] == [0]
        assert f"process {topic}" in collector.of(trace_id)


@pytest.mark.parametrize("hangs", [True, False], ids=["hangs", "away"])
def test_claims_do_not_notice_a_collector_that(hangs: bool, transactional_db: None, topic: str) -> None:
    """Forty times as many spans as the queue takes; and a process that stops waits for nobody."""
    coupon = make_coupon(stock=100)
    users = make_users(60)
    with collecting(hangs=True) as silent:
        endpoint = silent.endpoint if hangs else f"http://127.0.0.1:{free_port()}"
        small = {"OTEL_BSP_MAX_QUEUE_SIZE": "4", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "2"}
        env = tracing(endpoint, COUPON_TRACING_RATIO="1", **small)
        with System(topic=topic, env=env) as system:
            answers = system.claim_all(coupon.pk, users, at_once=10)
            statuses = system.wait_decided([each.body["requestId"] for each in answers.values()])
            assert not hangs or silent.was_asked.wait(15)
            codes = [system.api.stop(), *(each.stop() for each in system.consumers)]

    assert {each.status for each in answers.values()} == {202}
    assert {each["status"] for each in statuses} == {"ISSUED"}
    assert codes == [0, 0]


def run(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        cwd=PROJECT,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture
def uninstalled(tmp_path: Path) -> dict[str, str]:
    """An environment without OpenTelemetry: an empty package of its name hides the installed one."""
    (tmp_path / "opentelemetry").mkdir()
    (tmp_path / "opentelemetry/__init__.py").write_text("")
    return {"PYTHONPATH": str(tmp_path)}


EVERYTHING = "import sys, couponsite.wsgi, consumer.management.commands.run_coupon_consumer"


def test_without_the_setting_nothing_is_imported() -> None:
    """redis-py imports metrics of the SDK where it is installed: those are not ours."""
    done = run("-c", f"{EVERYTHING}\nprint(*[name for name in sys.modules])")

    assert done.returncode == 0, done.stderr
    ours = ("opentelemetry.sdk.trace", "opentelemetry.exporter", "opentelemetry.propagators")
    assert not [name for name in done.stdout.split() if name.startswith(ours)]


def test_without_the_setting_the_packages_need_not_be_there(uninstalled: dict[str, str]) -> None:
    done = run(
        "-c",
        f"{EVERYTHING}\nprint(*[name for name in sys.modules if 'opentelemetry' in name])",
        **uninstalled,
    )

    assert (done.returncode, done.stdout) == (0, "opentelemetry\n"), done.stderr


@pytest.mark.parametrize(
    "words",
    [["-m", "gunicorn", "-c", "couponsite/gunicorn_conf.py", "couponsite.wsgi"], ["manage.py", "check"]],
)
def test_without_the_packages_the_start_says_what_to_install(
    words: list[str], uninstalled: dict[str, str]
) -> None:
    done = run(*words, COUPON_TRACING="true", **uninstalled)

    assert done.returncode == 1
    assert "pip install -r requirements/tracing.txt" in done.stderr
    assert "Traceback" not in done.stderr
