"""Can the servers be worked with as they are reached? What waiting cannot mend is told at the start.

A server that is away, or that refuses a password, is no reason not to start: health and the log say so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from django.conf import settings
from django.core.management.base import CommandError
from redis.exceptions import AuthenticationError, RedisError

from coupons.eventlog import kafka_client
from coupons.eventlog.kafka_client import BrokersSilent
from coupons.operations.surroundings import watching
from runtime import actuator, redis_clients, redis_server, replica
from runtime.actuator import Component
from runtime.config.redis import SPELLING, Address, RedisKind, RedisSettings
from runtime.operator_language import say
from runtime.redis_server import RedisServer

_BROKER_S: Final = 5.0  #: an operator waits; shorter, and a slow broker passes for one that is away


def refuse() -> None:
    """Raise CommandError, one line, for the first thing that no waiting mends. Makes Kafka clients."""
    for problem in problems():
        raise CommandError(problem)


def problems() -> Iterator[str]:
    yield from redis_problems()
    yield from kafka_problems()


def redis_problems() -> Iterator[str]:
    reached = settings.CONFIG.redis
    if problem := _another_kind(reached) or _unknown_master(reached):
        yield problem


def kafka_problems() -> Iterator[str]:
    """Makes Kafka clients."""
    if problem := kafka_client.unusable():
        yield problem


def answers() -> dict[str, Component]:
    """What each server says of itself. Waits some seconds for each that does not answer."""
    found = {"db": watching.database(), "redis": actuator.redis(), "kafka": broker()}
    if settings.CONFIG.database.replica_url:
        found["replica"] = actuator.database(replica.ALIAS)
    return found


def broker() -> Component:
    """What Kafka's brokers say, asked by a client of its own. Waits for seconds."""
    try:
        brokers = kafka_client.brokers(timeout_s=_BROKER_S)
    except BrokersSilent as error:
        return Component(is_up=False, details={"error": str(error)})
    return Component(is_up=True, details={"brokers": brokers, **kafka_client.details()})


def _another_kind(reached: RedisSettings) -> str:
    """Why REDIS_URL must be another one; empty if it leads to what it says, or to nobody."""
    server = next(filter(None, (_server_at(reached, address) for address in _addresses(reached))), None)
    if server is None or server.kind is reached.kind:
        return ""
    found = {
        RedisKind.SENTINEL: say("a Sentinel"),
        RedisKind.CLUSTER: say("a node of a cluster"),
        RedisKind.STANDALONE: say("a single server"),
    }[server.kind]
    return say(
        "REDIS_URL begins as for {kind}, and {found} answers: write {spelling}",
        kind=reached.kind,
        found=found,
        spelling=SPELLING[server.kind],
    )


def _server_at(reached: RedisSettings, address: Address | None) -> RedisServer | None:
    """The server; None if none answers. Tries each login that we have: the server may be of any kind."""
    logins = [
        (reached.username, reached.password),
        (reached.sentinel_username, reached.sentinel_password),
        (None, None),
    ]
    for username, password in dict.fromkeys(logins):
        client = redis_clients.at(reached, address, username=username, password=password)
        try:
            return redis_server.ask(client)
        except AuthenticationError:
            continue
        except RedisError:
            return None
        finally:
            client.close()
    return None


def _unknown_master(reached: RedisSettings) -> str:
    if reached.kind is not RedisKind.SENTINEL:
        return ""
    known = _masters(reached)
    if known is None or reached.service in known:
        return ""
    names = ", ".join(sorted(known)) or say("none")
    return say(
        "REDIS_URL names the master {service}, and the Sentinels know: {names}",
        service=reached.service,
        names=names,
    )


def known_master(reached: RedisSettings) -> Mapping[str, Any]:
    """What the first Sentinel that answers says of our master; empty if none knows it."""
    state: Mapping[str, Any] = (_masters(reached) or {}).get(reached.service, {})
    return state


def _masters(reached: RedisSettings) -> Mapping[str, Any] | None:
    """All that the first Sentinel that answers knows, by name; None if none answers."""
    login = {"username": reached.sentinel_username, "password": reached.sentinel_password}
    for address in _addresses(reached):
        client = redis_clients.at(reached, address, **login)
        try:
            known: Any = client.sentinel_masters()
        except RedisError:
            continue
        finally:
            client.close()
        return {str(name): state for name, state in known.items()}
    return None


def _addresses(reached: RedisSettings) -> Sequence[Address | None]:
    return reached.addresses or (None,)  # None: a unix socket
