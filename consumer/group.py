"""How this consumer is a member of the group: by which protocol, and under which name.

Not every broker has every protocol, and a group that runs may speak another one than we would choose. So a
client tries one; what the group answers decides whether the next client tries the next one.
"""

from __future__ import annotations

import logging
import time
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException
from django.conf import settings

from consumer.kafka import ClientLost
from coupons.eventlog import group_coordinator
from runtime.config.kafka import GroupProtocol

log = logging.getLogger(__name__)

#: For the one question, before the first client. Longer, and a consumer whose broker is away starts later;
#: shorter, and a slow broker is taken for one without the protocol, which works as well.
_ANSWER_S: Final = 5.0
#: Kafka gives a dead member's name free after its session timeout, 60 s at the most as it ships. Shorter, and
#: a consumer that was killed comes back in vain; longer, and a name given twice is told later.
RELEASED_WITHIN_S: Final = 75.0
#: Between two clients. Shorter, and brokers are asked for nothing; longer, and the partitions wait.
TRY_AGAIN_S: Final = 2.0
#: Shorter, and the broker answers for nothing; longer, and a consumer without partitions is ready later.
_ASK_EVERY_S: Final = 3.0
_REFUSALS: Final = frozenset(
    {
        KafkaError.INCONSISTENT_GROUP_PROTOCOL,  # the others speak another one
        KafkaError.GROUP_ID_NOT_FOUND,  # the same, where group.consumer.migration.policy forbids both
        KafkaError.UNSUPPORTED_VERSION,
        KafkaError._UNSUPPORTED_FEATURE,
    }
)
_NAME_TAKEN: Final = frozenset({KafkaError.FENCED_INSTANCE_ID, KafkaError.UNRELEASED_INSTANCE_ID})


class JoinAnew(ClientLost):
    """The group does not take this client, and may take another one after ``pause_s``."""

    def __init__(self, why: str, *, pause_s: float) -> None:
        super().__init__(why)
        self.pause_s = pause_s


class NotAMember(RuntimeError):
    """The group will not have this process; the message says what an operator can do."""


def is_fatal(error: KafkaError) -> bool:
    """Whether the client is of no use any more.

    A consumer's fatal error comes as a message, and its ``fatal()`` is false there.
    """
    return bool(error.fatal()) or error.code() == KafkaError._FATAL


def cause_of(error: KafkaError) -> int:
    """Its code; a fatal error only has that of its cause in its text."""
    if error.code() != KafkaError._FATAL:
        return int(error.code())
    text = str(error.str())
    known = (each for each in _REFUSALS | _NAME_TAKEN if str(KafkaError(each).str()) in text)
    return next(known, KafkaError._FATAL)


class Membership:
    """One for the loop, across its clients, and for its thread alone. ``protocol``: of the client in hand."""

    def __init__(self) -> None:
        kafka = settings.CONFIG.kafka
        self._name = kafka.group_instance_id
        self._is_free_to_choose = kafka.group_protocol is GroupProtocol.AUTO
        self._order: list[GroupProtocol] = [] if self._is_free_to_choose else [kafka.group_protocol]
        self._refusals = 0  # since a client was taken
        self._waiting_since: float | None = None  # for our name
        self._asked_at = float("-inf")
        self._question = group_coordinator.MemberQuestion()

    @property
    def protocol(self) -> GroupProtocol:
        return self._order[0]

    @property
    def is_incremental(self) -> bool:
        return self.protocol is not GroupProtocol.EAGER

    def choose(self) -> GroupProtocol:
        """The protocol of the next client. Asks the broker the first time, for some seconds at the most."""
        if not self._order:
            self._order = list(_preferred())
        log.info("group protocol: %s, instance id: %s", self.protocol, self._name or "none")
        return self.protocol

    def joined(self) -> None:
        """Note that the group took this client."""
        self._waiting_since = None
        self._refusals = 0

    def is_counted(self, client: Consumer) -> bool:
        """Whether the group is known to count this client, which has no partition.

        Where there are more consumers than partitions, KIP-848 tells the one without nothing at all. Asks
        every _ASK_EVERY_S. Blocks its thread for up to 2 s.
        """
        if self.protocol is not GroupProtocol.CONSUMER or time.monotonic() - self._asked_at < _ASK_EVERY_S:
            return False
        self._asked_at = time.monotonic()
        try:
            return self._question.is_counted(settings.CONFIG.kafka.group_id, client.memberid(), timeout_s=1.0)
        except KafkaException as error:
            log.info("whether the group counts us is not known: %s", error)
            return False

    def refused(self, error: KafkaError) -> None:
        """Raise JoinAnew or NotAMember if this is the group's answer to our joining; else do nothing."""
        cause = cause_of(error)
        if cause == KafkaError.UNRELEASED_INSTANCE_ID:
            self._wait_for_name()
        if cause == KafkaError.FENCED_INSTANCE_ID:
            raise NotAMember(
                f"another consumer of the group runs as KAFKA_GROUP_INSTANCE_ID={self._name}, and has taken "
                "this one's place: give each its own, or none"
            )
        if cause not in _REFUSALS or not (is_fatal(error) or cause == KafkaError.INCONSISTENT_GROUP_PROTOCOL):
            return  # what is not fatal is about another request
        if self._is_free_to_choose:
            self._refusals += 1
            refused = self._order.pop(0)
            self._order.append(refused)
            have_all_been_tried = self._refusals % len(self._order) == 0
            raise JoinAnew(
                f"the group does not take {refused}: {error.str()}; next is {self.protocol}",
                pause_s=TRY_AGAIN_S if have_all_been_tried else 0.0,
            )
        if is_fatal(error):
            raise NotAMember(
                f"the broker does not take KAFKA_GROUP_PROTOCOL={self.protocol}: {error.str()}. "
                "Set it to auto, or to cooperative"
            )

    def _wait_for_name(self) -> None:
        now = time.monotonic()
        self._waiting_since = self._waiting_since or now
        if now - self._waiting_since >= RELEASED_WITHIN_S:
            raise NotAMember(
                f"another consumer of the group runs as KAFKA_GROUP_INSTANCE_ID={self._name}: "
                "give each its own, or none"
            )
        raise JoinAnew(
            f"the instance id {self._name} is not free yet: its last owner is running, or was killed, and is "
            "missed after the broker's group.consumer.session.timeout.ms",
            pause_s=TRY_AGAIN_S,
        )


def _preferred() -> list[GroupProtocol]:
    """The protocols to try, best first: KIP-848 where it misses a dead consumer as soon as we are to.

    Never where the broker does not tell of it: librdkafka asks an older one for ever, without an error.
    """
    wanted_ms = settings.CONFIG.consumer.session_timeout_ms
    found_ms = group_coordinator.session_timeout_ms(timeout_s=_ANSWER_S)
    if found_ms is None:
        return [GroupProtocol.COOPERATIVE, GroupProtocol.EAGER]
    if found_ms <= wanted_ms:
        return [GroupProtocol.CONSUMER, GroupProtocol.COOPERATIVE, GroupProtocol.EAGER]
    log.info(
        "group.consumer.session.timeout.ms of the brokers is %d, above "
        "COUPON_CONSUMER_SESSION_TIMEOUT_MS=%d: the cooperative protocol comes first",
        found_ms,
        wanted_ms,
    )
    return [GroupProtocol.COOPERATIVE, GroupProtocol.CONSUMER, GroupProtocol.EAGER]
