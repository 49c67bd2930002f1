"""The loop while one batch is being decided and the next one is there already."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError

from coupons.eventlog.place import NextOffset
from coupons.eventlog.positions import Position
from tests.messages import ReceivedMessage
from tests.unit.loop_run import DEADLOCK, Rows, Run, kafka_error, messages, offsets, on_no_servers


@pytest.fixture(autouse=True)
def rows(monkeypatch: pytest.MonkeyPatch) -> Rows:
    return on_no_servers(monkeypatch)


def test_the_next_batch_is_read_while_a_full_one_is_decided() -> None:
    run = Run(*messages(0, *range(5)), batch_size=2).to_end()

    assert run.decided == [f"0:{offset}" for offset in range(5)]
    assert run.read_ahead == [["0:2", "0:3"], ["0:4"], []]


def test_a_batch_that_is_not_full_has_none_beside_it() -> None:
    """What comes meanwhile makes one larger batch when this one is decided."""

    def another_comes(run: Run) -> None:
        if not run.decided:
            run.consumer.incoming.extend(messages(0, 2))

    run = Run(*messages(0, 0, 1), batch_size=3, before_process=another_comes)
    run.meanwhile = lambda run: None if run.decided else run.consumer.incoming.extend(messages(0, 3))

    assert run.to_end().told("process") == ["process [0:0, 0:1]", "process [0:2, 0:3]"]
    assert run.read_ahead == [[], []]


def once(run: Run, *changes: tuple[str, int]) -> None:
    """Rebalances while the first batch is being decided."""
    if len(run.read_ahead) == 1:
        for what, partition in changes:
            run.consumer.rebalance(what, partition)


@pytest.mark.parametrize("what", ["on_revoke", "on_lost"])
def test_what_was_read_ahead_of_a_partition_that_goes_is_dropped(rows: Rows, what: str) -> None:
    run = Run(
        *messages(0, 5), *messages(1, 3), *messages(0, 6), *messages(1, 4), batch_size=2,
        meanwhile=lambda run: once(run, (what, 0)),
    ).to_end()  # fmt: skip

    assert run.read_ahead[0] == ["0:6", "1:4"]
    assert run.decided == ["0:5", "1:3", "1:4"]
    assert offsets(rows) == {0: 6, 1: 5}


@pytest.mark.parametrize("what", ["on_revoke", "on_lost"])
def test_a_partition_that_goes_stays_ours_until_the_batch_in_hand_is_decided(what: str) -> None:
    """A batch may be decided in parts, and each part asks for its position."""
    owned: list[frozenset[int]] = []

    def goes(run: Run) -> None:
        once(run, (what, 0))
        assert run.assigned is not None
        owned.append(run.assigned.owned)

    run = Run(*messages(0, 5), batch_size=1, assigned=[0], meanwhile=goes).to_end()

    assert owned == [{0}]
    assert run.decided == ["0:5"]
    assert run.loop.state.partitions == ()


def test_a_partition_that_goes_and_comes_back_is_read_again_from_its_row(rows: Rows) -> None:
    run = Run(
        *messages(0, *range(4)), None, *messages(0, 2), None, *messages(0, 3, 4), batch_size=2, assigned=[0],
        meanwhile=lambda run: once(run, ("on_revoke", 0), ("on_assign", 0)),
    ).to_end()  # fmt: skip

    assert run.read_ahead[0] == ["0:2", "0:3"]
    assert run.told("assign")[-1] == "assign 0:2"
    assert run.told("process") == ["process [0:0, 0:1]", "process [0:2]", "process [0:3, 0:4]"]


def test_when_a_position_moved_what_was_read_ahead_is_not_decided(rows: Rows) -> None:
    """As after a restore: it comes again, behind what the database forgot."""

    def is_restored(run: Run) -> None:
        if len(run.read_ahead) == 1:
            rows.at[0] = Position(topic_id="one", next_offset=NextOffset(2))

    run = Run(
        *messages(0, 5, 6, 7, 8), None, *messages(0, 2, 3), batch_size=2, assigned=[0],
        meanwhile=is_restored,
    ).to_end()  # fmt: skip

    assert run.read_ahead[0] == ["0:7", "0:8"]
    assert run.told("assign")[-1] == "assign 0:2"
    assert run.decided == ["0:2", "0:3"]


def test_a_position_that_moved_while_its_partition_went_assigns_nothing(rows: Rows) -> None:
    """The group is in the middle of a rebalance, and what is assigned is the client's affair."""

    def goes_and_is_decided_elsewhere(run: Run) -> None:
        once(run, ("on_revoke", 0))
        rows.at[0] = Position(topic_id="one", next_offset=NextOffset(2))

    run = Run(*messages(0, 0, 1, 2), batch_size=2, assigned=[0], meanwhile=goes_and_is_decided_elsewhere)

    assert run.to_end().told("assign", "on_revoke") == ["assign nothing", "assign 0:0", "on_revoke [0]"]
    assert run.decided == []


def test_after_a_database_error_the_next_batch_waits_for_its_turn(rows: Rows) -> None:
    run = Run(*messages(0, *range(6)), failures=[DEADLOCK, DEADLOCK], batch_size=2, assigned=[0]).to_end()

    assert run.told("failed", "process") == [
        "failed [0:0, 0:1]",
        "failed [0:0, 0:1]",
        "process [0:0, 0:1]",
        "process [0:2, 0:3]",
        "process [0:4, 0:5]",
    ]
    assert offsets(rows) == {0: 6}


def test_an_end_that_was_read_ahead_is_not_passed_before_what_stands_in_front_of_it(rows: Rows) -> None:
    """The partition ends behind the next batch, which is not decided when this one is."""
    end = ReceivedMessage(0, 9, error=kafka_error(KafkaError._PARTITION_EOF))
    passed: list[dict[int, int]] = []

    run = Run(
        *messages(0, 5, 6, 7), end, failures=[DEADLOCK], batch_size=2, assigned=[0],
        before_process=lambda run: passed.append(offsets(rows)),
    ).to_end()  # fmt: skip

    assert passed == [{0: 0}, {0: 0}, {0: 7}, {0: 8}]
    assert run.told("process") == ["process [0:5, 0:6]", "process [0:7]", "process []"]
    assert offsets(rows) == {0: 9}


def test_a_stop_finishes_the_batch_in_hand_and_leaves_the_next_one(rows: Rows) -> None:
    run = Run(*messages(0, *range(4)), batch_size=2, meanwhile=lambda run: run.stop.set()).to_end()

    assert run.read_ahead == [["0:2", "0:3"]]
    assert run.told("process", "close") == ["process [0:0, 0:1]", "close"]
    assert run.told("commit")[-1] == "commit 0:2, 1:0"
    assert run.told_after[-1] == 2


def test_a_stop_while_the_database_is_away_decides_neither(rows: Rows) -> None:
    run = Run(*messages(0, *range(4)), failures=[DEADLOCK] * 9, batch_size=2)
    run.meanwhile = lambda run: run.stop.set()

    assert run.to_end().told("failed", "process", "close") == ["failed [0:0, 0:1]", "close"]
    assert offsets(rows) == {0: 0, 1: 0}


def test_redis_hears_of_all_before_the_loop_waits_for_anything() -> None:
    run = Run(*messages(0, *range(4)), None, *messages(0, 4), batch_size=2).to_end()

    assert {4, 5} <= set(run.told_after)


def test_redis_hears_of_a_batch_before_the_loop_waits_for_the_database() -> None:
    def fails_next(run: Run) -> None:
        if run.decided and not run.told("failed"):
            run.failures.append(DEADLOCK)

    run = Run(*messages(0, *range(4)), batch_size=2, before_process=fails_next).to_end()

    assert 2 in run.told_after
