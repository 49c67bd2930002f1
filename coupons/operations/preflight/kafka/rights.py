"""What our user may do, as the brokers tell it. In a preflight's thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

#: For one question. Shorter, and a busy broker counts as silent; longer, and the operator waits.
ASK_S: Final = 5.0


def of_topics(client: AdminClient, names: Sequence[str]) -> Iterator[tuple[str, frozenset[str] | None]]:
    if not names:
        return
    asked = client.describe_topics(
        TopicCollection([*names]), include_authorized_operations=True, request_timeout=ASK_S
    )
    for name, each in asked.items():
        yield name, _if_told(lambda each=each: _names(each.result(ASK_S + 1)))  # type: ignore[misc]


def of_group(client: AdminClient, group_id: str) -> frozenset[str] | None:
    """None where it is not told: nobody has joined the group yet, or its coordinator is not there yet.

    Its offsets are not asked for: before there is a coordinator that ends the process
    (https://github.com/confluentinc/librdkafka/issues/5040).
    """
    [asked] = client.describe_consumer_groups(
        [group_id], include_authorized_operations=True, request_timeout=ASK_S
    ).values()
    try:
        return _names(asked.result(ASK_S + 1))
    except KafkaException as error:
        is_refused = error.args[0].code() == KafkaError.GROUP_AUTHORIZATION_FAILED
        return frozenset() if is_refused else None


def _if_told(ask: Callable[[], frozenset[str] | None]) -> frozenset[str] | None:
    """None where the broker cannot tell: it is too old, none of Apache's, or has just started."""
    try:
        return ask()
    except KafkaException as error:
        if error.args[0].code() in (
            KafkaError._UNSUPPORTED_FEATURE,
            KafkaError.UNSUPPORTED_VERSION,
            KafkaError.UNKNOWN_TOPIC_OR_PART,
        ):
            return None
        raise


def _names(described: Any) -> frozenset[str] | None:
    operations = described.authorized_operations
    return None if operations is None else frozenset(each.name for each in operations)
