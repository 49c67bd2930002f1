"""The consumer's loop on a Kafka consumer that is a list: an offset moves after its rows are durable."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from django.conf import settings
from django.db import OperationalError
from prometheus_client import REGISTRY

from consumer import committing, reach
from consumer.loop import ConsumerLoop
from tests.messages import ReceivedMessage
from tests.unit.fake_kafka import FakeConsumer, Step

DEADLOCK = OperationalError(1213, "Deadlock found")


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    consumer = replace(settings.CONFIG.consumer, retry_backoff_max_s=0.02)
    monkeypatch.setattr(settings, "CONFIG", replace(settings.CONFIG, consumer=consumer))


@pytest.fixture(autouse=True)
def _no_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here ``process`` is a list; a connection that another test left open is none of the loop's."""
    monkeypatch.setattr("consumer.loop.close_old_connections", lambda: None)
    monkeypatch.setattr("consumer.loop.connection.close", lambda: None)


class Run:
    """One run of the loop over ``incoming``. ``failures`` are raised by the first calls of process."""

    def __init__(
        self,
        *incoming: Step,
        failures: Sequence[Exception] = (),
        batch_size: int = 10,
        before_process: Callable[[Run], None] = lambda run: None,
        assigned: Sequence[int] = (0, 1),
    ) -> None:
        self.stop = threading.Event()
        self.failures = deque(failures)
        self.before_process = before_process
        self.decided: list[str] = []
        assign: Step = lambda consumer: consumer.rebalance("on_assign", *assigned)  # noqa: E731
        self.consumer = FakeConsumer([assign, *incoming], stop=self.stop.set)
        self.loop = ConsumerLoop(
            make_consumer=self.consumer.made,
            process=self.process,
            batch_size=batch_size,
            stop=self.stop,
        )

    def process(self, messages: Sequence[Any]) -> None:
        self.before_process(self)
        if self.failures:
            self.journal.append(f"failed {list(messages)}")
            raise self.failures.popleft()
        self.journal.append(f"process {list(messages)}")
        self.decided += map(repr, messages)

    @property
    def journal(self) -> list[str]:
        return self.consumer.journal

    def told(self, *kinds: str) -> list[str]:
        """The journal's entries of these kinds."""
        return self.consumer.told(*kinds)

    def to_end(self) -> Run:
        self.loop.run()
        return self


def messages(partition: int, *offsets: int) -> list[ReceivedMessage]:
    return [ReceivedMessage(partition, offset) for offset in offsets]


def kafka_error(code: int = KafkaError.REBALANCE_IN_PROGRESS, *, fatal: bool = False) -> KafkaError:
    return KafkaError(code, "for the test", fatal)


def test_a_batch_is_processed_then_committed() -> None:
    run = Run(*messages(0, 7, 8), *messages(1, 3)).to_end()

    assert run.told("process", "commit", "close") == ["process [0:7, 0:8, 1:3]", "commit 0:9, 1:4", "close"]


def test_a_batch_holds_no_more_than_its_size_and_keeps_the_order() -> None:
    run = Run(*messages(0, *range(7)), batch_size=3).to_end()

    assert run.told("process") == ["process [0:0, 0:1, 0:2]", "process [0:3, 0:4, 0:5]", "process [0:6]"]
    assert run.told("commit") == ["commit 0:3", "commit 0:6", "commit 0:7"]


def test_what_failed_is_tried_again_in_place_and_nothing_is_committed_before() -> None:
    run = Run(*messages(0, 5, 6), None, None, *messages(0, 7), failures=[DEADLOCK, DEADLOCK]).to_end()

    assert run.told("failed", "process", "commit") == [
        "failed [0:5, 0:6]",
        "failed [0:5, 0:6]",
        "process [0:5, 0:6]",
        "commit 0:7",
        "process [0:7]",
        "commit 0:8",
    ]


def test_while_waiting_it_pauses_and_goes_on_polling_so_that_it_stays_in_the_group() -> None:
    run = Run(*messages(0, 5), *messages(0, 6), failures=[DEADLOCK], batch_size=1).to_end()

    first = run.journal.index("failed [0:5]")
    assert run.journal[first + 1] == "pause [0, 1]"
    assert run.journal[first + 2] == "nothing"
    resumed = run.journal.index("resume [0, 1]")
    assert run.journal[resumed + 1] == "process [0:5]"
    assert run.consumer.paused == set()


def test_health_sees_that_it_retries_and_why_and_that_it_is_over() -> None:
    seen: list[tuple[bool, str | None]] = []

    def look(run: Run) -> None:
        seen.append((run.loop.state.retrying_since is not None, run.loop.state.retry_cause))

    run = Run(*messages(0, 5), failures=[DEADLOCK, DEADLOCK], before_process=look).to_end()

    assert seen == [(False, None), (True, "OperationalError"), (True, "OperationalError")]
    assert (run.loop.state.retrying_since, run.loop.state.retry_cause) == (None, None)


def test_a_stop_during_the_wait_commits_nothing_of_the_batch() -> None:
    run = Run(*messages(0, 5), failures=[DEADLOCK] * 9, before_process=lambda run: run.stop.set()).to_end()

    assert run.told("failed", "process", "commit", "close") == ["failed [0:5]", "close"]


def test_a_stop_finishes_the_batch_in_hand_and_commits_it() -> None:
    run = Run(
        *messages(0, 5), *messages(0, 6), batch_size=1, before_process=lambda run: run.stop.set()
    ).to_end()

    assert run.told("process", "commit", "close") == ["process [0:5]", "commit 0:6", "close"]


def test_a_bug_ends_the_process_with_nothing_committed() -> None:
    run = Run(*messages(0, 5), failures=[ZeroDivisionError()])

    with pytest.raises(ZeroDivisionError):
        run.to_end()

    assert run.told("commit", "close") == ["close"]


def test_a_partition_taken_away_while_waiting_is_dropped_from_the_batch_in_hand() -> None:
    def partition_0_goes(consumer: FakeConsumer) -> None:
        consumer.rebalance("on_revoke", 0)

    run = Run(*messages(0, 5), *messages(1, 3), partition_0_goes, failures=[DEADLOCK]).to_end()

    assert run.decided == ["1:3"]
    assert run.told("commit") == ["commit 1:4"]


def test_a_message_of_a_partition_that_is_not_ours_is_not_decided() -> None:
    run = Run(*messages(0, 5), *messages(2, 9), assigned=[0]).to_end()

    assert run.decided == ["0:5"]
    assert run.told("commit") == ["commit 0:6"]


def test_while_a_commit_is_unanswered_it_goes_on_and_commits_all_of_it_afterwards() -> None:
    def is_silent(consumer: FakeConsumer) -> None:
        consumer.answers_commits = False

    def answers(consumer: FakeConsumer) -> None:
        consumer.answers_commits = True

    run = Run(is_silent, *messages(0, *range(6)), answers, *messages(0, 6), batch_size=2).to_end()

    assert run.told("process", "commit", "close") == [
        "process [0:0, 0:1]",
        "commit 0:2",
        "process [0:2, 0:3]",
        "process [0:4, 0:5]",
        "process [0:6]",
        "commit 0:7",
        "close",
    ]


def test_what_was_decided_is_committed_before_a_partition_goes_though_a_commit_is_unanswered() -> None:
    def is_silent(consumer: FakeConsumer) -> None:
        consumer.answers_commits = False

    def partition_0_goes(consumer: FakeConsumer) -> None:
        consumer.rebalance("on_revoke", 0)

    run = Run(is_silent, *messages(0, 5, 6), partition_0_goes, batch_size=1).to_end()

    assert run.told("process", "commit", "on_revoke") == [
        "process [0:5]",
        "commit 0:6",
        "process [0:6]",
        "on_revoke [0]",
        "commit 0:7",
    ]


def test_a_commit_that_failed_is_repeated_while_it_waits() -> None:
    def fails_once(consumer: FakeConsumer) -> None:
        consumer.commit_errors.append(kafka_error())

    run = Run(fails_once, *messages(0, 5, 6), batch_size=1)

    def fail_at_the_second(run: Run) -> None:
        if run.told("process") and not run.told("failed"):
            run.failures.append(DEADLOCK)

    run.before_process = fail_at_the_second
    run.to_end()

    assert run.told("process", "failed", "commit", "pause", "resume") == [
        "process [0:5]",
        "commit failed 0:6",
        "failed [0:6]",
        "pause [0, 1]",
        "commit 0:6",
        "resume [0, 1]",
        "process [0:6]",
        "commit 0:7",
    ]


def test_a_revoked_partition_is_committed_before_it_goes() -> None:
    def fails_once(consumer: FakeConsumer) -> None:
        consumer.commit_errors.append(kafka_error())

    def partition_0_goes(consumer: FakeConsumer) -> None:
        consumer.rebalance("on_revoke", 0)

    run = Run(fails_once, *messages(0, 5), partition_0_goes).to_end()

    assert run.told("commit", "on_revoke") == ["commit failed 0:6", "on_revoke [0]", "commit 0:6"]


def test_a_lost_partition_is_not_committed() -> None:
    def fails_once(consumer: FakeConsumer) -> None:
        consumer.commit_errors.append(kafka_error(KafkaError.ILLEGAL_GENERATION))

    def partition_0_is_lost(consumer: FakeConsumer) -> None:
        consumer.rebalance("on_lost", 0)

    run = Run(fails_once, *messages(0, 5), *messages(1, 3), partition_0_is_lost).to_end()

    assert run.told("commit") == ["commit failed 0:6, 1:4", "commit 1:4"]


def test_a_commit_that_failed_is_repeated_when_nothing_else_comes() -> None:
    def fails_twice(consumer: FakeConsumer) -> None:
        consumer.commit_errors.extend([kafka_error()] * 2)

    run = Run(fails_twice, *messages(0, 5), None, None, None).to_end()

    assert run.told("process") == ["process [0:5]"]
    assert run.told("commit") == ["commit failed 0:6", "commit failed 0:6", "commit 0:6"]


def test_a_commit_that_failed_is_in_the_next_batchs() -> None:
    def fails_once(consumer: FakeConsumer) -> None:
        consumer.commit_errors.append(kafka_error())

    run = Run(fails_once, *messages(0, 5), *messages(1, 3), batch_size=1).to_end()

    assert run.told("commit") == ["commit failed 0:6", "commit 0:6, 1:4"]


def test_messages_received_while_waiting_are_kept_and_decided_in_order() -> None:
    run = Run(*messages(0, 5, 6, 7, 8), failures=[DEADLOCK], batch_size=1)
    run.consumer.fetched_before = 2

    assert run.to_end().decided == ["0:5", "0:6", "0:7", "0:8"]
    assert run.told("commit")[-1] == "commit 0:9"


def test_partitions_assigned_while_waiting_stand_still_too() -> None:
    def partition_2_comes(consumer: FakeConsumer) -> None:
        consumer.rebalance("on_assign", 2)

    run = Run(*messages(0, 5), partition_2_comes, *messages(2, 0), failures=[DEADLOCK], batch_size=1).to_end()

    assigned = run.journal.index("on_assign [2]")
    assert run.journal[assigned + 1 : assigned + 3] == ["assign [2]", "pause [2]"]
    assert "resume [0, 1, 2]" in run.journal
    assert run.decided == ["0:5", "2:0"]


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that is not answered once is lost."""
    monkeypatch.setattr(reach, "_EVERY_S", 0)
    monkeypatch.setattr(reach, "_PATIENCE_S", 0)
    consumer = replace(settings.CONFIG.consumer, session_timeout_ms=0)
    monkeypatch.setattr(settings, "CONFIG", replace(settings.CONFIG, consumer=consumer))


def followed(run: Run, *incoming: Step) -> FakeConsumer:
    """The client that the loop gets after its first."""
    following = FakeConsumer(incoming, stop=run.stop.set)
    clients = iter([run.consumer, following])
    run.loop._make_consumer = lambda **callbacks: next(clients).made(**callbacks)
    return following


def assigned_0(consumer: FakeConsumer) -> None:
    consumer.rebalance("on_assign", 0)


@pytest.mark.usefixtures("_impatient")
def test_a_lost_client_is_left_as_it_is_and_a_new_one_goes_on() -> None:
    run = Run(*messages(0, 5), loses_its_broker, *messages(0, 6), assigned=[0])
    lost = run.consumer
    lost.answers_commits = False
    following = followed(run, assigned_0, *messages(0, 5, 6))

    run.to_end()

    assert lost.told("commit", "close") == ["commit 0:6"]
    assert [*map(repr, lost.incoming)] == ["0:6"]
    assert following.told("commit", "close") == ["commit 0:7", "close"]
    assert run.decided == ["0:5", "0:5", "0:6"]


def loses_its_broker(consumer: FakeConsumer) -> None:
    consumer.finds_a_broker = False


@pytest.mark.usefixtures("_impatient")
def test_a_new_client_has_joined_nothing_and_retries_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit that got lost is noticed while a batch is tried again; then the partitions go to others."""
    monkeypatch.setattr(committing, "_PATIENCE_S", 0)
    seen: list[tuple[bool, float | None]] = []
    run = Run(*messages(0, 5, 6), None, None, failures=[], batch_size=1, assigned=[0])
    run.before_process = lambda run: run.failures.append(DEADLOCK) if run.decided else None
    run.consumer.answers_commits = False
    following = followed(
        run, lambda consumer: seen.append((run.loop.state.has_joined, run.loop.state.retrying_since))
    )

    run.to_end()

    assert seen == [(False, None)]
    assert following.told("close") == ["close"]


def test_an_error_that_librdkafka_mends_is_passed_over() -> None:
    error = ReceivedMessage(0, 6, error=kafka_error(KafkaError.UNKNOWN_TOPIC_OR_PART))

    run = Run(*messages(0, 5), error, *messages(0, 6)).to_end()

    assert run.decided == ["0:5", "0:6"]


def test_a_fatal_error_ends_the_process() -> None:
    run = Run(ReceivedMessage(0, 5, error=kafka_error(fatal=True)), *messages(0, 6))

    with pytest.raises(KafkaException):
        run.to_end()

    assert run.decided == []
    assert run.consumer.closed


def test_it_has_joined_once_the_group_gave_it_partitions() -> None:
    joined: list[bool] = []

    run = Run(*messages(0, 5), before_process=lambda run: joined.append(run.loop.state.has_joined))

    assert run.loop.state.has_joined is False
    run.to_end()
    assert joined == [True]
    assert run.loop.state.partitions == (0, 1)


def test_the_lag_is_what_comes_after_the_batch() -> None:
    Run(*messages(1, 3)).to_end()

    assert REGISTRY.get_sample_value("coupon_consumer_lag", {"partition": "1"}) == 5


def test_while_it_retries_the_lag_is_what_the_broker_says() -> None:
    lags: list[float | None] = []

    def look(run: Run) -> None:
        lags.append(REGISTRY.get_sample_value("coupon_consumer_lag", {"partition": "1"}))

    Run(*messages(1, 3, 4), failures=[DEADLOCK], before_process=look).to_end()

    assert lags[1] == 7


def test_the_oldest_undecided_event_has_an_age_while_it_is_undecided() -> None:
    ages: list[float | None] = []

    def look(run: Run) -> None:
        ages.append(REGISTRY.get_sample_value("coupon_oldest_undecided_seconds"))

    Run(*messages(0, 5), None, before_process=look).to_end()

    assert ages[0] is not None
    assert ages[0] > 1_000_000  # the fake's messages are of 2023
    assert REGISTRY.get_sample_value("coupon_oldest_undecided_seconds") == 0
