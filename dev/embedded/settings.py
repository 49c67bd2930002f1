"""The supervisor's own settings, read once from the environment."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from environs import Env
from marshmallow.validate import Length, Range

from dev.processes import LOOPBACK, PROJECT


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedSettings:
    directory: Path  #: database, output of the processes, lock; absolute
    application_logs: Path  #: the application's own log files; absolute
    api_host: str
    api_port: int
    health_port: int  #: the consumer's
    redis_port: int
    kafka_port: int
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
        host = LOOPBACK if self.api_host in ("0.0.0.0", "::", "[::]") else self.api_host
        return f"http://{host}:{self.api_port}"

    @property
    def consumer_url(self) -> str:
        return f"http://{LOOPBACK}:{self.health_port}"


def load() -> EmbeddedSettings:
    """Read the environment. Raises EnvError, which names the variable."""
    env = Env(expand_vars=False)
    port, filled = Range(min=1, max=65_535), Length(min=1)
    topic = env.str("COUPON_TOPIC", "coupon-issue-events", validate=filled)
    return EmbeddedSettings(
        directory=PROJECT / Path(env.str("COUPON_EMBEDDED_DIR", ".embedded", validate=filled)).expanduser(),
        application_logs=PROJECT / Path(env.str("COUPON_LOG_DIR", "logs", validate=filled)).expanduser(),
        api_host=env.str("COUPON_API_HOST", LOOPBACK, validate=filled),
        api_port=env.int("COUPON_API_PORT", 8080, validate=port),
        health_port=env.int("COUPON_HEALTH_PORT", 8081, validate=port),
        redis_port=env.int("COUPON_EMBEDDED_REDIS_PORT", 16379, validate=port),
        kafka_port=env.int("COUPON_EMBEDDED_KAFKA_PORT", 19092, validate=port),
        topic=topic,
        dead_letter_topic=env.str("COUPON_DEAD_LETTER_TOPIC", f"{topic}.DLT", validate=filled),
        group_id=env.str("COUPON_CONSUMER_GROUP_ID", "coupon-issue-consumer-group", validate=filled),
    )
