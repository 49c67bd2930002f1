"""The consumer's loop on a Kafka consumer that is a list and positions that are a dict."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from django.conf import settings
from prometheus_client import REGISTRY

from consumer import broker_watch, ground_watch
from coupons.eventlog import positions
from coupons.eventlog.place import NextOffset
from coupons.eventlog.positions import Position
from tests.messages import ReceivedMessage
from tests.unit.fake_kafka import FakeConsumer, Step
from tests.unit.loop_run import DEADLOCK, Rows, Run, kafka_error, messages, offsets, on_no_servers


@pytest.fixture(autouse=True)
def rows(monkeypatch: pytest.MonkeyPatch) -> Rows:
    return on_no_servers(monkeypatch)


def test_a_batch_is_decided_with_the_position_and_copied_to_kafka(rows: Rows) -> None:
    run = Run(*messages(0, 7, 8), *messages(1, 3)).to_end()

    assert run.told("process", "close") == ["process [0:7, 0:8, 1:3]", "close"]
    assert offsets(rows) == {0: 9, 1: 4}
    assert run.told("commit")[-1] == "commit 0:9, 1:4"


def test_it_begins_where_the_database_says_not_where_kafka_does(rows: Rows) -> None:
    rows.at = {0: Position(topic_id="one", next_offset=NextOffset(5))}
    run = Run(*messages(0, 5), assigned=[0])
    run.consumer.copied = {0: 900}

    run.to_end()

    assert run.told("assign") == ["assign nothing", "assign 0:5"]
    assert run.decided == ["0:5"]


def test_a_group_that_the_database_does_not_know_begins_where_kafka_says_else_at_the_beginning() -> None:
    run = Run(assigned=[0, 1])
    run.consumer.copied = {1: 40}

    assert run.to_end().told("assign")[-1] == "assign 0:0, 1:40"


def test_while_the_database_is_away_nothing_is_read(rows: Rows) -> None:
    rows.is_away = True
    seen: list[tuple[str | None, bool]] = []

    def comes_back(consumer: FakeConsumer) -> None:
        seen.append((run.loop.state.retry_cause, run.loop.state.waiting_since is not None))
        rows.is_away = False

    run = Run(comes_back, *messages(0, 5), assigned=[0])
    run.to_end()

    assert seen == [("OperationalError", True)]
    assert run.decided == ["0:5"]
    assert run.loop.state.retrying_since is None


def test_what_a_restored_database_forgot_is_decided_again(rows: Rows) -> None:
    """Its position is behind where this consumer believes it is."""

    def is_restored(consumer: FakeConsumer) -> None:
        rows.at[0] = Position(topic_id="one", next_offset=NextOffset(2))

    run = Run(
        *messages(0, *range(5)), is_restored, *messages(0, 5), None, *messages(0, *range(2, 6)), assigned=[0]
    )
    run.to_end()

    assert run.told("assign")[-1] == "assign 0:2"
    assert run.decided == [f"0:{offset}" for offset in (*range(5), *range(2, 6))]
    assert offsets(rows) == {0: 6}


def test_a_database_that_is_restored_while_nothing_comes_is_noticed(
    rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ground_watch, "LOOK_EVERY_S", 0)

    def is_restored(consumer: FakeConsumer) -> None:
        rows.at[0] = Position(topic_id="one", next_offset=NextOffset(2))

    run = Run(*messages(0, *range(5)), is_restored, None, None, assigned=[0]).to_end()

    assert run.told("assign")[-1] == "assign 0:2"


def test_a_position_that_moved_passes_over_nothing_in_other_partitions(rows: Rows) -> None:
    """Their events were in the same batch, and with them the news that the partition ends there."""
    end = ReceivedMessage(1, 5, error=kafka_error(KafkaError._PARTITION_EOF))

    def is_moved(run: Run) -> None:
        if not run.told("process"):
            rows.at[0] = Position(topic_id="one", next_offset=NextOffset(2))

    run = Run(*messages(0, 7), *messages(1, 3, 4), end, None, None, before_process=is_moved).to_end()

    assert offsets(rows) == {0: 2, 1: 0}
    assert run.decided == []


def test_while_positions_are_not_found_nothing_is_decided(rows: Rows) -> None:
    """The database goes away just after a position moved: what comes has not been asked for."""

    def is_moved(run: Run) -> None:
        if len(run.told("assign")) == 2:
            rows.at[0] = Position(topic_id="one", next_offset=NextOffset(2))
            rows.refusals = 3

    run = Run(*messages(0, 7), *messages(1, 3, 4), None, *messages(1, 4), before_process=is_moved).to_end()

    assert run.told("assign")[2:4] == ["assign nothing", "assign 0:2, 1:0"]
    assert run.decided == ["1:4"]  # asked for, from offset 0 on


def test_a_rebalance_while_it_waits_leaves_no_partition_paused() -> None:
    def comes_back(consumer: FakeConsumer) -> None:
        consumer.rebalance("on_revoke", 0, 1)
        consumer.rebalance("on_assign", 0, 1)

    run = Run(*messages(0, 5), comes_back, *messages(0, 5, 6), failures=[DEADLOCK]).to_end()

    assert run.consumer.paused == set()
    assert run.decided == ["0:5", "0:6"]


def test_a_consumer_that_lost_its_partitions_has_not_joined() -> None:
    def is_lost(consumer: FakeConsumer) -> None:
        consumer.rebalance("on_lost", 0, 1)

    run = Run(*messages(0, 5), is_lost, None).to_end()

    assert run.loop.state.has_joined is False


def test_positions_are_looked_at_while_it_is_busy_too(rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    """Partition 1 is quiet and was set back; partition 0 never rests."""
    monkeypatch.setattr(ground_watch, "LOOK_EVERY_S", 0)
    rows.at = {
        0: Position(topic_id="one", next_offset=NextOffset(0)),
        1: Position(topic_id="one", next_offset=NextOffset(9)),
    }

    def is_restored(run: Run) -> None:
        if len(run.decided) == 2:
            rows.at[1] = Position(topic_id="one", next_offset=NextOffset(4))

    run = Run(*messages(0, *range(6)), batch_size=1, before_process=is_restored).to_end()

    assert "assign 0:3, 1:4" in run.told("assign")


def test_what_another_consumer_decided_is_passed(rows: Rows) -> None:
    def another_goes_on(consumer: FakeConsumer) -> None:
        rows.at[0] = Position(topic_id="one", next_offset=NextOffset(8))

    run = Run(
        *messages(0, 5), another_goes_on, *messages(0, 6, 7), None, *messages(0, 8), assigned=[0]
    ).to_end()

    assert run.decided == ["0:5", "0:8"]


def test_a_topic_that_was_made_anew_is_read_from_its_beginning(
    rows: Rows, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ground_watch, "LOOK_EVERY_S", 0)

    def is_made_anew(run: Run) -> None:
        rows.topic_id = "two"

    run = Run(
        *messages(0, 5), *messages(0, 6), None, *messages(0, 0),
        batch_size=1, before_process=is_made_anew, assigned=[0],
    ).to_end()  # fmt: skip

    assert run.decided == ["0:5", "0:0"]
    assert rows.at == {0: Position(topic_id="two", next_offset=NextOffset(1))}
    assert "deleted and made anew. The old one (one) was decided up to offset 6" in caplog.text


def test_events_that_were_deleted_before_they_were_decided_stop_their_partition_alone(
    rows: Rows, caplog: pytest.LogCaptureFixture
) -> None:
    rows.at = {
        0: Position(topic_id="one", next_offset=NextOffset(5)),
        1: Position(topic_id="one", next_offset=NextOffset(9)),
    }
    run = Run(*messages(1, 9), assigned=[0, 1])
    run.consumer.first = 7

    run.to_end()

    assert run.told("assign")[-1] == "assign 1:9"
    assert run.decided == ["1:9"]
    assert list(run.loop.state.stuck) == [0]
    assert "events from offset 5 to 6 were deleted before they were decided" in run.loop.state.stuck[0]
    assert caplog.text.count("were deleted before they were decided") == 1


def test_once_the_loss_is_accepted_the_partition_goes_on(rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ground_watch, "LOOK_EVERY_S", 0)
    rows.at = {0: Position(topic_id="one", next_offset=NextOffset(5))}

    def is_accepted(consumer: FakeConsumer) -> None:
        rows.at[0] = Position(topic_id="one", next_offset=NextOffset(7))

    run = Run(None, is_accepted, None, *messages(0, 7), assigned=[0])
    run.consumer.first = 7

    run.to_end()

    assert run.loop.state.stuck == {}
    assert run.decided == ["0:7"]


def test_a_position_outside_of_the_log_is_shown_and_never_jumped_over(rows: Rows) -> None:
    outside = ReceivedMessage(0, 6, error=kafka_error(KafkaError._AUTO_OFFSET_RESET))

    run = Run(*messages(0, 5), outside, None, assigned=[0]).to_end()

    assert offsets(rows) == {0: 6}
    assert "the broker has lost its end" in run.loop.state.stuck[0]
    again = Run(*messages(0, 9), assigned=[0]).to_end()  # the log has grown past it; another process looks
    assert again.decided == []
    assert "the broker has lost its end" in again.loop.state.stuck[0]


@pytest.mark.parametrize("comes_with_it", [True, False])
@pytest.mark.parametrize("begins_at", [0, 5])
def test_a_log_that_begins_at_the_position_has_lost_nothing(
    rows: Rows, begins_at: int, comes_with_it: bool
) -> None:
    """librdkafka may tell late what it met in a topic that was made anew meanwhile, at its old offset."""
    rows.at = {0: Position(topic_id="one", next_offset=NextOffset(begins_at))}
    outside = ReceivedMessage(0, 235, error=kafka_error(KafkaError._AUTO_OFFSET_RESET))
    later: list[None] = [] if comes_with_it else [None]
    run = Run(None, outside, *later, *messages(0, begins_at), assigned=[0])
    run.consumer.first = begins_at

    run.to_end()

    assert run.loop.state.stuck == {}
    assert run.decided == [f"0:{begins_at}"]
    assert rows.at == {0: Position(topic_id="one", next_offset=NextOffset(begins_at + 1))}


def test_markers_of_transactions_at_the_end_are_passed(rows: Rows) -> None:
    end = ReceivedMessage(0, 9, error=kafka_error(KafkaError._PARTITION_EOF))

    run = Run(*messages(0, 5, 6), end, None, *messages(0, 9), assigned=[0], batch_size=2).to_end()

    assert run.told("process") == ["process [0:5, 0:6]", "process []", "process [0:9]"]
    assert offsets(rows) == {0: 10}


def test_the_end_of_a_partition_is_not_passed_before_what_stands_in_front_of_it(rows: Rows) -> None:
    end = ReceivedMessage(0, 7, error=kafka_error(KafkaError._PARTITION_EOF))
    passed: list[dict[int, int]] = []

    Run(
        *messages(0, 5, 6),
        end,
        failures=[DEADLOCK],
        before_process=lambda run: passed.append(offsets(rows)),
        assigned=[0],
    ).to_end()

    assert passed == [{0: 0}, {0: 0}]
    assert offsets(rows) == {0: 7}


def test_a_batch_holds_no_more_than_its_size_and_keeps_the_order() -> None:
    run = Run(*messages(0, *range(7)), batch_size=3).to_end()

    assert run.told("process") == ["process [0:0, 0:1, 0:2]", "process [0:3, 0:4, 0:5]", "process [0:6]"]


def test_what_failed_is_tried_again_in_place() -> None:
    run = Run(*messages(0, 5, 6), None, None, *messages(0, 7), failures=[DEADLOCK, DEADLOCK]).to_end()

    assert run.told("failed", "process") == [
        "failed [0:5, 0:6]",
        "failed [0:5, 0:6]",
        "process [0:5, 0:6]",
        "process [0:7]",
    ]


def test_what_was_decided_before_a_failure_is_not_decided_again(rows: Rows) -> None:
    """A batch may be decided in parts."""

    def decide_the_first(run: Run) -> None:
        if not run.told("failed"):
            assigned = run.assigned
            assert assigned is not None
            given: list[Any] = list(messages(0, 5))
            first = assigned.advances(given)
            positions.take_over({}, {each.partition: each.reached for each in first})
            assigned.advanced(first)

    run = Run(*messages(0, 5, 6), failures=[DEADLOCK], before_process=decide_the_first, assigned=[0]).to_end()

    assert run.told("failed", "process") == ["failed [0:5, 0:6]", "process [0:6]"]


def test_while_waiting_it_pauses_and_goes_on_polling_so_that_it_stays_in_the_group() -> None:
    run = Run(*messages(0, 5, 6, 7), failures=[DEADLOCK], batch_size=1).to_end()

    first = run.journal.index("failed [0:5]")
    assert run.journal[first + 1] == "pause [0, 1]"
    assert run.journal[first + 2] == "nothing"
    resumed = run.journal.index("resume [0, 1]", first)
    assert run.journal[resumed + 1] == "process [0:5]"
    assert run.consumer.paused == set()


def test_health_sees_that_it_retries_and_why_and_that_it_is_over() -> None:
    seen: list[tuple[bool, str | None]] = []

    def look(run: Run) -> None:
        seen.append((run.loop.state.retrying_since is not None, run.loop.state.retry_cause))

    run = Run(*messages(0, 5), failures=[DEADLOCK, DEADLOCK], before_process=look).to_end()

    assert seen == [(False, None), (True, "OperationalError"), (True, "OperationalError")]
    assert (run.loop.state.retrying_since, run.loop.state.retry_cause) == (None, None)


def test_a_stop_during_the_wait_decides_nothing_of_the_batch(rows: Rows) -> None:
    run = Run(*messages(0, 5), failures=[DEADLOCK] * 9, before_process=lambda run: run.stop.set()).to_end()

    assert run.told("failed", "process", "close") == ["failed [0:5]", "close"]
    assert offsets(rows) == {0: 0, 1: 0}


def test_a_stop_finishes_the_batch_in_hand_and_copies_its_position() -> None:
    run = Run(
        *messages(0, 5), *messages(0, 6), batch_size=1, before_process=lambda run: run.stop.set()
    ).to_end()

    assert run.told("process", "close") == ["process [0:5]", "close"]
    assert run.told("commit")[-1] == "commit 0:6, 1:0"


def test_a_bug_ends_the_process_with_nothing_decided(rows: Rows) -> None:
    run = Run(*messages(0, 5), failures=[ZeroDivisionError()])

    with pytest.raises(ZeroDivisionError):
        run.to_end()

    assert run.told("close") == ["close"]
    assert offsets(rows) == {0: 0, 1: 0}


def test_a_partition_taken_away_while_waiting_is_dropped_from_the_batch_in_hand() -> None:
    def partition_0_goes(consumer: FakeConsumer) -> None:
        consumer.rebalance("on_revoke", 0)

    run = Run(*messages(0, 5), *messages(1, 3), partition_0_goes, failures=[DEADLOCK]).to_end()

    assert run.decided == ["1:3"]


def told_of_waiting(run: Run) -> tuple[float | None, float | None, str | None]:
    state = run.loop.state
    return state.waiting_since, state.retrying_since, state.retry_cause


@pytest.mark.parametrize("what", ["on_revoke", "on_lost"])
@pytest.mark.parametrize("partitions", [(0, 1), (0,)])
def test_health_does_not_tell_of_a_batch_that_went_while_waiting(
    what: str, partitions: tuple[int, ...]
) -> None:
    def goes(consumer: FakeConsumer) -> None:
        consumer.rebalance(what, *partitions)

    run = Run(*messages(0, 5), goes, failures=[DEADLOCK]).to_end()

    assert run.decided == []
    assert told_of_waiting(run) == (None, None, None)


def test_health_does_not_tell_of_positions_that_were_looked_for_when_the_partitions_went(rows: Rows) -> None:
    def goes(consumer: FakeConsumer) -> None:
        assert run.loop.state.retry_cause == "OperationalError"
        consumer.rebalance("on_revoke", 0)

    rows.is_away = True
    run = Run(None, goes, assigned=[0])

    assert told_of_waiting(run.to_end()) == (None, None, None)


def test_a_message_of_a_partition_that_is_not_ours_is_not_decided() -> None:
    run = Run(*messages(0, 5), *messages(2, 9), assigned=[0]).to_end()

    assert run.decided == ["0:5"]


def test_whether_kafka_takes_the_copy_of_a_position_is_of_no_account(rows: Rows) -> None:
    def is_silent(consumer: FakeConsumer) -> None:
        consumer.answers_commits = False

    run = Run(is_silent, *messages(0, 5, 6), *messages(1, 3), batch_size=1).to_end()

    assert run.decided == ["0:5", "0:6", "1:3"]
    assert offsets(rows) == {0: 7, 1: 4}


def test_a_partition_that_goes_is_copied_before() -> None:
    def is_silent(consumer: FakeConsumer) -> None:
        consumer.answers_commits = False

    def partition_0_goes(consumer: FakeConsumer) -> None:
        consumer.rebalance("on_revoke", 0)

    run = Run(None, is_silent, *messages(0, 5), partition_0_goes, assigned=[0]).to_end()

    assert run.told("commit", "on_revoke") == ["commit 0:0", "commit 0:6", "on_revoke [0]"]


def test_messages_received_while_waiting_are_kept_and_decided_in_order(rows: Rows) -> None:
    run = Run(*messages(0, 5, 6, 7, 8), failures=[DEADLOCK], batch_size=1)
    run.consumer.fetched_before = 2

    assert run.to_end().decided == ["0:5", "0:6", "0:7", "0:8"]
    assert offsets(rows)[0] == 9


def test_partitions_assigned_while_waiting_are_read_afterwards() -> None:
    def partition_2_comes(consumer: FakeConsumer) -> None:
        consumer.rebalance("on_assign", 2)

    run = Run(*messages(0, 5), partition_2_comes, *messages(2, 0), failures=[DEADLOCK], batch_size=1).to_end()

    assert run.told("assign") == [
        "assign nothing",
        "assign 0:0, 1:0",
        "assign nothing",
        "assign 0:6, 1:0, 2:0",
    ]
    assert run.decided == ["0:5", "2:0"]


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that is not answered once is lost."""
    monkeypatch.setattr(broker_watch, "EVERY_S", 0)
    monkeypatch.setattr(broker_watch, "PATIENCE_S", 0)
    consumer = replace(settings.CONFIG.consumer, session_timeout_ms=0)
    monkeypatch.setattr(settings, "CONFIG", replace(settings.CONFIG, consumer=consumer))


def followed(run: Run, *incoming: Step) -> FakeConsumer:
    """The client that the loop gets after its first."""
    following = FakeConsumer(incoming, stop=run.stop.set)
    run.clients.append(following)
    return following


def assigned_0(consumer: FakeConsumer) -> None:
    consumer.rebalance("on_assign", 0)


@pytest.mark.usefixtures("_impatient")
def test_a_lost_client_is_left_as_it_is_and_a_new_one_goes_on() -> None:
    run = Run(*messages(0, 5), loses_its_broker, *messages(0, 6), assigned=[0])
    lost = run.consumer
    following = followed(run, assigned_0, *messages(0, 5, 6))

    run.to_end()

    assert lost.told("close") == []
    assert [*map(repr, lost.incoming)] == ["0:6"]
    assert following.told("assign", "close") == ["assign nothing", "assign 0:6", "close"]
    assert run.decided == ["0:5", "0:6"]


@pytest.mark.usefixtures("_impatient")
def test_a_client_that_gives_nothing_of_what_there_is_is_lost() -> None:
    """As after a commit that librdkafka lost: it fetches nothing after the next rebalance."""

    def has_more(consumer: FakeConsumer) -> None:
        consumer.beyond = 3

    run = Run(*messages(0, 5), has_more, None, *messages(0, 6), assigned=[0])
    following = followed(run, assigned_0, *messages(0, 6))

    run.to_end()

    assert run.consumer.told("close") == []
    assert following.told("assign", "close") == ["assign nothing", "assign 0:6", "close"]


def loses_its_broker(consumer: FakeConsumer) -> None:
    consumer.finds_a_broker = False


@pytest.mark.usefixtures("_impatient")
def test_a_new_client_has_joined_nothing_and_retries_nothing() -> None:
    seen: list[tuple[bool, float | None, bool]] = []

    def is_lost_while_retrying(consumer: FakeConsumer) -> None:
        run.loop.state.waits()
        run.loop.state.retries("OperationalError")
        loses_its_broker(consumer)

    run = Run(*messages(0, 5), is_lost_while_retrying, *messages(0, 6), assigned=[0])

    def look(consumer: FakeConsumer) -> None:
        state = run.loop.state
        seen.append((state.has_joined, state.retrying_since, state.waiting_since is not None))

    following = followed(run, look)

    run.to_end()

    assert seen == [(False, None, True)]  # what waited for the one before waits still
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
