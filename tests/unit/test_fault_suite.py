"""The fault suite's own parts: the verdicts, the broken network, the places where processes are struck."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from dev.clusters import certificates, redis, urls
from dev.clusters.brokers import Brokers
from dev.faults import bugs, former, patching, prometheus
from dev.faults import rush as module
from dev.faults.cases import alerts, deploys
from dev.faults.proxy import Link
from dev.faults.rush import Answer, Client, Rush
from dev.faults.table import Row, as_markdown, as_text
from dev.processes import PROJECT, Process
from dev.servers import ServiceError


def test_what_leads_to_encrypted_clusters_is_documented(tmp_path: Path) -> None:
    """The row everything-encrypted is set by nothing else."""
    made = certificates.make(tmp_path / "certificates")
    node = redis.Server(port=1, process=Process(name="", command=[], log=tmp_path, env={}), certificates=made)
    variables = {
        **Brokers(tmp_path, libs=tmp_path, certificates=made).environment(),
        **urls.of_cluster([node]),
        **urls.of_database("mysql://", made),
    }
    pages = ("README.md", "docs/connections.md", "docs/operations.md")
    documented = "".join((PROJECT / page).read_text() for page in pages)

    assert [name for name in variables if f"`{name}`" not in documented] == []


GREEN = Row(
    name="redis-flushed",
    what="FLUSHALL",
    requests=400,
    accepted=100,
    refused=300,
    issued=100,
    lost=0,
    doubled=0,
    leaked=0,
    recovered_s=0.1,
)


@pytest.mark.parametrize("column", ["lost", "doubled", "leaked"])
def test_a_row_with_a_broken_promise_is_red(column: str) -> None:
    counts: dict[str, Any] = {column: 1}
    row = replace(GREEN, **counts)

    assert (GREEN.verdict, GREEN.passed) == ("ok", True)
    assert (row.verdict, row.passed) == ("RED", False)


def test_a_complaint_alone_is_red() -> None:
    assert replace(GREEN, complaints=["verify: ..."]).verdict == "RED"


def test_a_bug_must_show_in_its_own_column() -> None:
    bug = replace(GREEN, bug_shows_in="doubled")

    assert (bug.verdict, bug.passed) == ("NOT CAUGHT", False)
    assert (replace(bug, lost=5).verdict, replace(bug, lost=5).passed) == ("NOT CAUGHT", False)
    assert (replace(bug, doubled=1).verdict, replace(bug, doubled=1).passed) == ("caught", True)


def test_what_a_bug_does_not_explain_is_red_though_the_bug_was_caught() -> None:
    bug = replace(GREEN, bug_shows_in="leaked", leaked=1, complaints=["7 issued of a stock of 10"])
    stalled = replace(bug, unexpected=["the log was not decided to its end"])

    assert (bug.verdict, bug.passed) == ("caught", True)
    assert (stalled.verdict, stalled.passed) == ("RED", False)


def test_the_table_has_a_line_per_row() -> None:
    rows = [GREEN, replace(GREEN, name="broker-killed", recovered_s=None)]

    assert [line.split()[0] for line in as_text(rows).splitlines()] == [
        "fault",
        "redis-flushed",
        "broker-killed",
    ]
    assert as_markdown(rows).splitlines()[2].startswith("| redis-flushed | FLUSHALL | 400 | 100 |")


def test_only_a_yes_or_a_refusal_is_a_last_word() -> None:
    words = {status: Answer(user_id=1, status=status).is_last_word for status in (0, 202, 404, 409, 500, 503)}

    assert words == {0: False, 202: True, 404: True, 409: True, 500: False, 503: False}


@pytest.fixture
def server() -> Iterator[socket.socket]:
    """Repeats what it is sent, on each connection."""

    def repeat(connection: socket.socket) -> None:
        with connection:
            while data := connection.recv(4096):
                connection.sendall(data)

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=repeat, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)


@pytest.fixture
def link(server: socket.socket) -> Iterator[Link]:
    link = Link(to_port=server.getsockname()[1], is_kafka=False)
    link.start()
    yield link
    link.stop()


def said(port: int, words: bytes) -> bytes:
    """The answer through this port; empty when the connection broke."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(words)
            return connection.recv(4096)
    except OSError:
        return b""


def test_a_link_passes_everything_until_it_is_cut_and_again_once_mended(link: Link) -> None:
    assert said(link.port, b"hello") == b"hello"

    link.cut()
    assert said(link.port, b"hello") == b""
    assert link.hits > 0

    link.mend()
    assert said(link.port, b"hello") == b"hello"


def test_a_lost_reply_breaks_its_connection_after_the_request_passed(link: Link) -> None:
    link.lost_replies = 1.0
    assert said(link.port, b"hello") == b""
    assert link.hits == 1


def test_kafkas_address_becomes_the_links_in_whole_frames(server: socket.socket) -> None:
    port = server.getsockname()[1]
    link = Link(to_port=port, is_kafka=True)
    link.start()
    body = b"\x00\x09127.0.0.1" + struct.pack(">i", port) + b"rest"
    try:
        assert said(link.port, struct.pack(">i", len(body)) + body) == struct.pack(
            ">i", len(body)
        ) + body.replace(struct.pack(">i", port), struct.pack(">i", link.port))
    finally:
        link.stop()


def test_a_broker_can_be_made_to_name_none(server: socket.socket) -> None:
    """Metadata's answer, version 12: one broker, the cluster's id, its controller, a topic's error."""
    port = server.getsockname()[1]
    link = Link(to_port=port, is_kafka=True)
    link.start()
    head, rest = b"\x00\x00\x00\x07" + b"\x00" + b"\x00\x00\x00\x00", b"\x04abc\x00\x00\x00\x01\x02\x00\x05"
    broker = b"\x00\x00\x00\x01" + b"\x0a127.0.0.1" + struct.pack(">i", port) + b"\x00" + b"\x00"
    answer = head + b"\x02" + broker + rest
    try:
        link.names_no_brokers = True
        told = said(link.port, struct.pack(">i", len(answer)) + answer)
        assert told == struct.pack(">i", len(head + b"\x01" + rest)) + head + b"\x01" + rest
        assert link.hits == 1
    finally:
        link.stop()


def test_a_step_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="there is no step nowhere"):
        patching.apply("kill:nowhere")


def test_every_bug_of_a_case_exists() -> None:
    from dev.faults.cases import ALL

    named = " ".join(f"{case.api_patch} {case.consumer_patch}" for case in ALL).split()

    assert {word.partition(":")[2] for word in named if word.startswith("bug:")} == set(bugs.ALL)
    killed_at = {word.partition(":")[2] for word in named if word.startswith("kill:")}
    assert killed_at == {*patching.STEPS, "deferring"}


def test_the_cases_names_are_distinct() -> None:
    from dev.faults.cases import ALL

    assert len({case.name for case in ALL}) == len(ALL)


def test_the_end_of_a_partition_is_cut_off_and_what_kafka_would_believe_is_gone(tmp_path: Path) -> None:
    from dev.faults import log

    folder = tmp_path / f"{settings.CONFIG.kafka.topic}-1"
    folder.mkdir()
    (folder / "00000000000000000000.log").write_bytes(bytes(range(100)))
    for name in ("00000000000000000000.index", "00000000000000000006.snapshot", "leader-epoch-checkpoint"):
        (folder / name).touch()
    (tmp_path / "recovery-point-offset-checkpoint").touch()

    log.cut_end(tmp_path, partition=1, kept=0.3)

    assert (folder / "00000000000000000000.log").read_bytes() == bytes(range(30))
    assert sorted(each.name for each in folder.iterdir()) == [
        "00000000000000000000.log",
        "leader-epoch-checkpoint",
    ]
    assert [each.name for each in tmp_path.iterdir()] == [folder.name]


def test_the_watchs_rules_are_made_quicker_and_stay_what_they_are() -> None:
    rules = {
        rule.get("alert") or rule["record"]: rule
        for group in prometheus.quicker_rules()
        for rule in group["rules"]
    }

    assert rules["CouponGateAway"]["for"] == "2s"
    assert rules["CouponGateAway"]["expr"] == "sum by (instance) (rate(coupon_gate_failures_total[5s])) > 0"
    assert rules["CouponNothingDecided"]["expr"] == "max by (instance) (coupon_stalled_seconds) > 4"
    assert rules["CouponVerifyNotRun"]["expr"].endswith("> 900"), "it does not grow with a fault"
    assert rules["CouponVerifyRed"]["expr"] == "max(max_over_time(coupon_verify_findings[240s])) > 0"
    assert rules["CouponGateAway"]["annotations"]["runbook"] == "docs/runbooks/CouponGateAway.md"


def test_claims_go_where_the_balancer_leads(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    class Answering(Client):
        def __init__(self, port: int) -> None:
            self.port = port

        def claim(self, coupon_id: int, user_id: int) -> Answer:
            asked.append(self.port)
            if len(asked) == 2:
                rush.lead_to(3)
            return Answer(user_id=user_id, status=202, request_id="x")

        def close(self) -> None:
            """There is nothing to close."""

    monkeypatch.setattr(module, "Client", Answering)
    monkeypatch.setattr(module, "AT_ONCE", 1)
    rush = Rush(ports=[1, 2], coupon_id=1, users=range(1, 5))
    rush.start()

    assert rush.finish(within_s=5)
    assert asked == [1, 2, 3, 3]


def test_a_clone_without_the_release_before_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(former, "COMMIT", "0" * 40)

    assert not former.is_at_hand()
    with pytest.raises(ServiceError, match="git fetch --unshallow"):
        former.require()


@dataclass
class Seen:
    """As much of a scene, and of a Prometheus, as a fault's alerts need."""

    fires: bool
    fired_before: bool = False
    did: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def expect(self, condition: bool, complaint: str) -> None:
        if not condition:
            self.notes.append(complaint)

    def firing(self) -> set[str]:
        return {"CouponGateAway"} if self.fired_before else set()

    def wait_firing(self, name: str, *, within_s: float) -> bool:
        self.did.append(name)
        return self.fires


@pytest.mark.parametrize(
    ("fires", "fired_before", "complaint"),
    [
        (True, False, None),
        (False, False, "CouponGateAway did not fire within 3 s"),
        (True, True, "['CouponGateAway'] fired before anything was wrong"),
    ],
)
def test_an_alert_that_does_not_fire_for_its_fault_is_a_complaint(
    fires: bool, fired_before: bool, complaint: str | None
) -> None:
    seen: Any = Seen(fires=fires, fired_before=fired_before)
    fault = alerts.Fault(
        begin=lambda scene: seen.did.append("begin"),
        end=lambda scene: seen.did.append("end"),
        alerts=("CouponGateAway",),
        within_s=3,
    )

    alerts.strike(fault, seen, seen)

    assert seen.did == ["begin", "CouponGateAway", "end"]
    assert seen.notes == ([complaint] if complaint else [])


def test_in_a_roll_out_nobody_may_go_unanswered_or_be_refused_but_by_the_stock() -> None:
    accepted = Answer(user_id=1, status=202, request_id="x")
    sold_out = Answer(user_id=2, status=409, code="OUT_OF_STOCK")
    unanswered, draining = Answer(user_id=3, status=0), Answer(user_id=4, status=503, code="X")

    assert not deploys.refused([accepted, sold_out])
    assert deploys.refused([accepted, unanswered, draining, sold_out]) == {(0, None): 1, (503, "X"): 1}
