"""A rebalance leaves alone what stays; what a group answers decides how the next client joins."""

from __future__ import annotations

from dataclasses import replace

import pytest
from confluent_kafka import KafkaError
from django.conf import settings

from consumer import group
from consumer.group import NotAMember
from coupons.eventlog import group_coordinator
from coupons.eventlog.place import NextOffset
from coupons.eventlog.positions import Position
from runtime.config.kafka import GroupProtocol
from tests.messages import ReceivedMessage
from tests.unit.fake_kafka import FakeConsumer, Step
from tests.unit.loop_run import DEADLOCK, Rows, Run, messages, offsets, on_no_servers


@pytest.fixture(autouse=True)
def rows(monkeypatch: pytest.MonkeyPatch) -> Rows:
    monkeypatch.setattr(group, "TRY_AGAIN_S", 0)
    return on_no_servers(monkeypatch, protocol=GroupProtocol.COOPERATIVE)


def rebalanced(what: str, *partitions: int) -> Step:
    return lambda consumer: consumer.rebalance(what, *partitions)


def refused(code: int, *, is_fatal: bool = False) -> Step:
    """As librdkafka tells it: a fatal error comes as a message, whose ``fatal()`` is false."""
    error = KafkaError(code)
    if is_fatal:
        error = KafkaError(KafkaError._FATAL, f"Fatal error: {error.str()}: Fatal consumer error", False)
    return ReceivedMessage(0, 0, error=error)


def test_a_partition_that_comes_is_begun_and_the_others_are_left_alone() -> None:
    run = Run(*messages(0, 5), rebalanced("on_assign", 2), *messages(0, 6), *messages(2, 0)).to_end()

    assert run.told("begin", "end", "assign") == [
        "begin nothing",
        "begin 0:0, 1:0",
        "begin nothing",
        "begin 2:0",
    ]
    assert run.decided == ["0:5", "0:6", "2:0"]


def test_a_partition_that_goes_is_ended_and_the_others_are_left_alone() -> None:
    run = Run(*messages(0, 5), rebalanced("on_revoke", 1), *messages(0, 6), *messages(1, 0)).to_end()

    assert run.told("begin", "end") == ["begin nothing", "begin 0:0, 1:0", "end [1]"]
    assert run.decided == ["0:5", "0:6"]
    assert run.loop.state.has_joined
    assert run.loop.state.partitions == (0,)


def test_a_revocation_before_the_positions_are_known_ends_nothing(rows: Rows) -> None:
    rows.is_away = True

    def comes_back(consumer: FakeConsumer) -> None:
        rows.is_away = False

    run = Run(rebalanced("on_revoke", 0), comes_back, *messages(1, 0)).to_end()

    assert run.told("begin", "end") == ["begin nothing", "end []", "begin 1:0"]
    assert run.decided == ["1:0"]


def test_what_was_read_ahead_of_a_partition_that_went_and_came_is_read_anew(rows: Rows) -> None:
    """The database may have gone back meanwhile: what was held would pass over events."""

    def goes_and_comes(run: Run) -> None:
        if not run.journal[-1].startswith("on_"):
            run.consumer.rebalance("on_revoke", 0)
            rows.at[0] = Position(topic_id="one", next_offset=NextOffset(0))
            run.consumer.rebalance("on_assign", 0)
            run.meanwhile = lambda run: None

    run = Run(*messages(1, 0, 1), *messages(0, 8), *messages(0, 0), batch_size=2, meanwhile=goes_and_comes)

    run.to_end()

    assert run.read_ahead[0] == ["0:8", "0:0"]
    assert run.decided == ["1:0", "1:1"]


def test_what_was_read_ahead_of_a_partition_that_stays_is_decided(rows: Rows) -> None:
    def another_comes(run: Run) -> None:
        run.consumer.rebalance("on_assign", 2)
        run.meanwhile = lambda run: None

    run = Run(*messages(0, 5, 6, 7, 8), batch_size=2, meanwhile=another_comes).to_end()

    assert run.decided == ["0:5", "0:6", "0:7", "0:8"]
    assert offsets(rows) == {0: 9, 1: 0, 2: 0}


def test_lost_partitions_are_ended_and_it_has_not_joined() -> None:
    run = Run(*messages(0, 5), rebalanced("on_lost", 0, 1), *messages(0, 6)).to_end()

    assert run.told("end") == ["end [0, 1]"]
    assert run.decided == ["0:5"]
    assert not run.loop.state.has_joined


def test_partitions_that_come_while_it_waits_are_not_left_paused() -> None:
    run = Run(*messages(0, 5), rebalanced("on_assign", 2), *messages(2, 0), failures=[DEADLOCK], batch_size=1)

    assert run.to_end().decided == ["0:5", "2:0"]
    assert run.consumer.paused == set()


def test_positions_that_moved_are_looked_for_in_all_partitions(rows: Rows) -> None:
    def goes_back(run: Run) -> None:
        rows.at[0] = Position(topic_id="one", next_offset=NextOffset(3))
        run.before_process = lambda run: None

    run = Run(*messages(0, 5), *messages(0, 3, 4, 5), before_process=goes_back).to_end()

    assert run.told("begin", "end")[1:] == ["begin 0:0, 1:0", "end [0, 1]", "begin 0:3, 1:0"]


class TestJoining:
    """What the group answers to the first client decides the next one's protocol."""

    @pytest.fixture(autouse=True)
    def chooses(self, monkeypatch: pytest.MonkeyPatch) -> None:
        kafka = replace(settings.CONFIG.kafka, group_protocol=GroupProtocol.AUTO, group_instance_id="a")
        monkeypatch.setattr(settings, "CONFIG", replace(settings.CONFIG, kafka=kafka))
        monkeypatch.setattr(group_coordinator, "session_timeout_ms", lambda timeout_s: self.session_ms)

    session_ms: int | None = None

    def tried(self, *answers: Step) -> list[GroupProtocol]:
        """The protocols of the clients, when the group gives these answers and then takes the last."""
        run = Run(answers[0], assigned=())
        run.consumer.incoming.popleft()
        clients = [run.consumer]
        for answer in answers[1:]:
            clients.append(FakeConsumer([answer], stop=run.stop.set))
        clients.append(FakeConsumer([rebalanced("on_assign", 0), *messages(0, 0)], stop=run.stop.set))
        run.clients.extend(clients[1:])

        run.to_end()

        assert run.decided == ["0:0"]
        assert all(client.closed for client in clients)
        return [client.protocol for client in clients]

    def test_a_broker_that_misses_the_dead_in_time_decides_itself(self) -> None:
        self.session_ms = settings.CONFIG.consumer.session_timeout_ms

        assert self.tried(refused(KafkaError.UNSUPPORTED_VERSION, is_fatal=True)) == [
            "consumer",
            "cooperative",
        ]

    def test_beside_an_eager_group_the_broker_decides_if_it_can(self) -> None:
        self.session_ms = 10 * settings.CONFIG.consumer.session_timeout_ms

        assert self.tried(refused(KafkaError.INCONSISTENT_GROUP_PROTOCOL)) == ["cooperative", "consumer"]

    def test_beside_an_eager_group_on_an_old_broker_it_is_eager(self) -> None:
        """It is not asked for KIP-848: librdkafka would wait for it for ever."""
        self.session_ms = None

        assert self.tried(refused(KafkaError.INCONSISTENT_GROUP_PROTOCOL)) == ["cooperative", "eager"]

    def test_where_none_is_taken_it_begins_again(self) -> None:
        self.session_ms = 10 * settings.CONFIG.consumer.session_timeout_ms
        inconsistent = refused(KafkaError.INCONSISTENT_GROUP_PROTOCOL)
        answers = [inconsistent, refused(KafkaError.GROUP_ID_NOT_FOUND, is_fatal=True), inconsistent]

        assert self.tried(*answers) == ["cooperative", "consumer", "eager", "cooperative"]

    def test_a_name_that_is_not_free_yet_is_waited_for(self) -> None:
        answers = [refused(KafkaError.UNRELEASED_INSTANCE_ID, is_fatal=True)] * 3

        assert self.tried(*answers) == ["cooperative"] * 4

    def test_a_name_that_is_never_free_ends_the_process(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(group, "RELEASED_WITHIN_S", 0)

        with pytest.raises(NotAMember, match="KAFKA_GROUP_INSTANCE_ID=a"):
            self.tried(refused(KafkaError.UNRELEASED_INSTANCE_ID, is_fatal=True))

    def test_whose_place_another_took_ends(self) -> None:
        with pytest.raises(NotAMember, match="KAFKA_GROUP_INSTANCE_ID=a"):
            self.tried(refused(KafkaError.FENCED_INSTANCE_ID, is_fatal=True))


def test_a_protocol_that_was_named_is_the_only_one(monkeypatch: pytest.MonkeyPatch) -> None:
    kafka = replace(settings.CONFIG.kafka, group_protocol=GroupProtocol.CONSUMER)
    monkeypatch.setattr(settings, "CONFIG", replace(settings.CONFIG, kafka=kafka))

    with pytest.raises(NotAMember, match="KAFKA_GROUP_PROTOCOL=consumer"):
        Run(refused(KafkaError._UNSUPPORTED_FEATURE, is_fatal=True)).to_end()
