"""Every setting of the system: read once from the environment, checked once, frozen.

No other package reads a setting from ``os.environ``. This one imports no Django, so that gunicorn's
configuration and scripts can use it before Django is set up. README.md and docs/connections.md have the same
list as tables; ``tests/unit/test_config.py`` keeps them together. How a server is reached is in ``kafka``,
``redis`` and ``database``, who may ask in ``identity``, which pages of other origins may in ``cors``, how
often anybody may in ``limits``, what is traced in ``tracing``, in which language commands speak in
``language``; all else is here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from environs import Env, EnvError
from marshmallow.validate import Length, OneOf, Range, Regexp

from runtime.config import cors, database, identity, kafka, language, library_lines, limits, redis, tracing
from runtime.config.cors import CorsSettings
from runtime.config.database import DatabaseSettings
from runtime.config.identity import IdentitySettings
from runtime.config.kafka import KafkaSettings
from runtime.config.language import Language
from runtime.config.limits import LimitSettings
from runtime.config.reading import ConfigError, secret
from runtime.config.redis import RedisSettings
from runtime.config.tracing import TracingSettings

__all__ = ["Config", "ConfigError", "load"]

BASE_DIR = Path(__file__).resolve().parent.parent.parent
#: Bounds of COUPON_PUBLISH_TIMEOUT_MS in any process of the system, whatever this one's own setting is. A
#: slow publish asks after twice the shortest whether its slot was given back (coupons/claims/submitting.py).
SHORTEST_PUBLISH_MS: Final = 500
#: Leaked slots are searched for after twice this time (coupons/gate/leaked_slots.py): longer, and they refuse
#: claims for longer; shorter, and an API cannot wait out a slow broker.
LONGEST_PUBLISH_MS: Final = 9000
#: A leader that died is replaced some 4 to 6 s later where brokers have broker.session.timeout.ms=3000
#: (docs/operations.md). Shorter, and claims are refused that its successor would have taken; longer, and the
#: first claims on a dead partition wait for longer.
_USUAL_PUBLISH_MS: Final = 9000
#: Of the publish timeout. Smaller, and claims are refused that the next leader would have taken; larger, and
#: on a busy machine the answer is later than the timeout.
_WAITING_SHARE: Final = 0.85
#: Smaller, and where much is undecided a claim on a cold coupon is refused that would have been loaded;
#: larger, and one that was loaded has no time left in which a busy broker may acknowledge it.
_LOADING_SHARE: Final = 0.6
#: The API's timeout for its database. Shorter, and a busy database refuses claims; longer, and one that hangs
#: keeps the worker's few threads.
LONGEST_QUERY_S: Final = 5
_SENTRY_DSN: Final = re.compile(r"https?://\w+(:\w+)?@[\w.:-]+(/[\w-]+)*/\d+")


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteSettings:
    """The settings of Django itself."""

    secret_key: str = field(repr=False)
    debug: bool
    allowed_hosts: tuple[str, ...]
    csrf_trusted_origins: tuple[str, ...]
    behind_https: bool  #: a proxy in front ends TLS, and sets X-Forwarded-Proto whatever its client sent
    hsts_s: int  #: for so long a browser asks for this host with https alone
    hsts_subdomains: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiSettings:
    """gunicorn and the claim route."""

    host: str
    port: int
    operations_port: int  #: has health, metrics and the admin, then not on ``port``; 0: all on ``port``
    workers: int
    threads: int  #: per worker, for everything but claims
    keepalive_s: int  #: must be longer than a balancer's, or it sends claims into closed connections
    coupon_view_ttl_s: float  #: how old the API's view of a coupon row may be; docs/api.md promises 2 s


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    directory: Path
    level: str
    format: str
    max_bytes: int = 0  #: a file of this size is renamed; 0: never, because logrotate does it
    backups: int = 1  #: how many renamed files are kept
    sentry_dsn: str = ""  #: errors are reported there (runtime/sentry.py); empty: nowhere
    sentry_environment: str = "production"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProducerSettings:
    linger_ms: float  #: librdkafka waits so long for more records of a batch
    batch_bytes: int
    buffer_kbytes: int
    publish_timeout_ms: int  #: a claim waits no longer than this, for its gate and for the broker together

    @property
    def waiting_s(self) -> float:
        """From a claim's arrival: for the database, its gate and the broker, in turn.

        The rest is for what follows, until the answer is written.
        """
        return _WAITING_SHARE * self.publish_timeout_ms / 1000

    @property
    def loading_s(self) -> float:
        """From a claim's arrival: until its gate is loaded. The rest is for the broker's acknowledgement."""
        return _LOADING_SHARE * self.publish_timeout_ms / 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerSettings:
    batch_size: int  #: events per poll and per transaction
    poll_timeout_ms: int
    session_timeout_ms: int
    max_poll_interval_ms: int
    fetch_min_bytes: int
    fetch_wait_max_ms: int
    fetch_message_max_bytes: int
    health_port: int
    lock_expiry_s: int
    lock_wait_s: int
    retry_backoff_max_s: float
    dead_letters_in_a_row: int  #: more than so many, with no good event in between, halt the consumer
    stalled_after_s: int  #: readiness is DOWN if events wait and none was decided for so long


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    language: Language  #: of what commands print
    site: SiteSettings
    database: DatabaseSettings
    redis: RedisSettings
    api: ApiSettings
    cors: CorsSettings
    limits: LimitSettings
    identity: IdentitySettings
    logs: LogSettings
    tracing: TracingSettings
    kafka: KafkaSettings
    producer: ProducerSettings
    consumer: ConsumerSettings

    @property
    def longest_claim_s(self) -> float:
        """The longest that a claim takes, which a stopping worker must have as time.

        The publish timeout, which is for all that it waits for in turn; then the questions that are on when
        that time is over, and those of the note.
        """
        asking_s = LONGEST_QUERY_S + self.redis.longest_call_s
        return 2 * asking_s + self.producer.publish_timeout_ms / 1000


def load() -> Config:
    """Read the environment. Raises ConfigError, one line, naming the variable."""
    env = Env(expand_vars=False)
    try:
        config = Config(
            language=language.load(env),
            site=_site(env),
            database=database.load(env, folder=BASE_DIR),
            redis=redis.load(env),
            api=_api(env),
            cors=cors.load(env),
            limits=limits.load(env),
            identity=identity.load(env),
            logs=_logs(env),
            tracing=tracing.load(env),
            kafka=kafka.load(env),
            producer=_producer(env),
            consumer=_consumer(env),
        )
    except EnvError as error:
        raise library_lines.refused(" ".join(str(error).split())) from error
    _refuse_impossible_combinations(config)
    return config


def _site(env: Env) -> SiteSettings:
    debug = env.bool("DEBUG", False)
    secret_key = secret(env, "SECRET_KEY", "only-for-development" if debug else "")
    if not secret_key:
        raise ConfigError(
            'SECRET_KEY is not set: set it to a long random text, e.g. "$(openssl rand -hex 32)" '
            "(or DEBUG=true on a development machine)"
        )
    return SiteSettings(
        secret_key=secret_key,
        debug=debug,
        allowed_hosts=tuple(env.list("ALLOWED_HOSTS", ["localhost", "127.0.0.1", "[::1]"])),
        csrf_trusted_origins=tuple(env.list("CSRF_TRUSTED_ORIGINS", [])),
        behind_https=env.bool("COUPON_BEHIND_HTTPS", False),
        hsts_s=env.int("COUPON_HSTS_S", 3600, validate=Range(min=1, max=63_072_000)),
        hsts_subdomains=env.bool("COUPON_HSTS_SUBDOMAINS", False),
    )


def _api(env: Env) -> ApiSettings:
    return ApiSettings(
        host=env.str("COUPON_API_HOST", "127.0.0.1", validate=Length(min=1)),
        port=_port(env, "COUPON_API_PORT", 8080),
        operations_port=env.int("COUPON_API_OPERATIONS_PORT", 0, validate=Range(min=0, max=65_535)),
        workers=env.int("COUPON_API_WORKERS", 2, validate=Range(min=1, max=256)),
        threads=env.int("COUPON_API_THREADS", 4, validate=Range(min=1, max=256)),
        keepalive_s=env.int("COUPON_API_KEEPALIVE_S", 75, validate=Range(min=1, max=3600)),
        coupon_view_ttl_s=env.int("COUPON_VIEW_TTL_MS", 500, validate=Range(min=0, max=1500)) / 1000,
    )


def _logs(env: Env) -> LogSettings:
    return LogSettings(
        directory=Path(env.str("COUPON_LOG_DIR", str(BASE_DIR / "logs"))),
        level=env.str("COUPON_LOG_LEVEL", "INFO", validate=OneOf(["DEBUG", "INFO", "WARNING", "ERROR"])),
        format=env.str("COUPON_LOG_FORMAT", "text", validate=OneOf(["text", "json"])),
        max_bytes=env.int("COUPON_LOG_MAX_BYTES", 268_435_456, validate=Range(min=0, max=1_000_000_000_000)),
        backups=env.int("COUPON_LOG_BACKUPS", 10, validate=Range(min=1, max=1000)),
        sentry_dsn=_sentry_dsn(env),
        sentry_environment=env.str(
            "COUPON_SENTRY_ENVIRONMENT", "production", validate=Regexp(r"[^\s/]{1,64}\Z")
        ),
    )


def _sentry_dsn(env: Env) -> str:
    dsn = env.str("COUPON_SENTRY_DSN", "")
    if dsn and not _SENTRY_DSN.fullmatch(dsn):
        raise ConfigError(
            "COUPON_SENTRY_DSN is no DSN: it is https://KEY@HOST/PROJECT, as the project's settings show it"
        )
    return dsn


def _producer(env: Env) -> ProducerSettings:
    return ProducerSettings(
        linger_ms=env.float("COUPON_PRODUCER_LINGER_MS", 0.2, validate=Range(min=0, max=1000)),
        batch_bytes=env.int("COUPON_PRODUCER_BATCH_BYTES", 131_072, validate=Range(min=1024, max=10_000_000)),
        buffer_kbytes=env.int("COUPON_PRODUCER_BUFFER_KBYTES", 32_768, validate=Range(min=64, max=2_000_000)),
        publish_timeout_ms=env.int(
            "COUPON_PUBLISH_TIMEOUT_MS",
            _USUAL_PUBLISH_MS,
            validate=Range(min=SHORTEST_PUBLISH_MS, max=LONGEST_PUBLISH_MS),
        ),
    )


def _consumer(env: Env) -> ConsumerSettings:
    return ConsumerSettings(
        batch_size=env.int("COUPON_CONSUMER_BATCH_SIZE", 1000, validate=Range(min=1, max=10_000)),
        poll_timeout_ms=env.int("COUPON_CONSUMER_POLL_TIMEOUT_MS", 100, validate=Range(min=1, max=5000)),
        session_timeout_ms=env.int(
            "COUPON_CONSUMER_SESSION_TIMEOUT_MS", 10_000, validate=Range(min=1000, max=1_800_000)
        ),
        max_poll_interval_ms=env.int(
            "COUPON_CONSUMER_MAX_POLL_INTERVAL_MS", 300_000, validate=Range(min=1000, max=86_400_000)
        ),
        fetch_min_bytes=env.int(
            "COUPON_CONSUMER_FETCH_MIN_BYTES", 65_536, validate=Range(min=1, max=100_000_000)
        ),
        fetch_wait_max_ms=env.int("COUPON_CONSUMER_FETCH_WAIT_MS", 100, validate=Range(min=0, max=300_000)),
        fetch_message_max_bytes=env.int(
            "COUPON_CONSUMER_FETCH_MAX_BYTES", 1_048_576, validate=Range(min=1024, max=1_000_000_000)
        ),
        health_port=_port(env, "COUPON_HEALTH_PORT", 8081),
        lock_expiry_s=env.int("COUPON_LOCK_EXPIRY_S", 30, validate=Range(min=1, max=3600)),
        lock_wait_s=env.int("COUPON_LOCK_WAIT_S", 2, validate=Range(min=1, max=60)),
        retry_backoff_max_s=env.int(
            "COUPON_RETRY_BACKOFF_MAX_MS", 30_000, validate=Range(min=100, max=300_000)
        )
        / 1000,
        dead_letters_in_a_row=env.int(
            "COUPON_DEAD_LETTERS_IN_A_ROW", 1000, validate=Range(min=0, max=1_000_000_000)
        ),
        stalled_after_s=env.int("COUPON_STALLED_AFTER_S", 60, validate=Range(min=1, max=3600)),
    )


def _port(env: Env, name: str, default: int) -> int:
    return env.int(name, default, validate=Range(min=1, max=65_535))


def _refuse_impossible_combinations(config: Config) -> None:
    consumer = config.consumer
    if consumer.session_timeout_ms > consumer.max_poll_interval_ms:
        raise ConfigError(
            "COUPON_CONSUMER_SESSION_TIMEOUT_MS must not be above COUPON_CONSUMER_MAX_POLL_INTERVAL_MS "
            "({session} > {interval})",
            session=consumer.session_timeout_ms,
            interval=consumer.max_poll_interval_ms,
        )
    if consumer.lock_wait_s > consumer.lock_expiry_s:
        raise ConfigError(
            "COUPON_LOCK_WAIT_S must not be above COUPON_LOCK_EXPIRY_S ({wait} > {expiry})",
            wait=consumer.lock_wait_s,
            expiry=consumer.lock_expiry_s,
        )
    if config.producer.linger_ms >= config.producer.publish_timeout_ms:
        raise ConfigError(
            "COUPON_PRODUCER_LINGER_MS must be below COUPON_PUBLISH_TIMEOUT_MS ({linger} >= {timeout})",
            linger=config.producer.linger_ms,
            timeout=config.producer.publish_timeout_ms,
        )
    if config.api.operations_port == config.api.port:
        raise ConfigError(
            "COUPON_API_OPERATIONS_PORT must not be COUPON_API_PORT ({port})", port=config.api.port
        )
    if config.kafka.dead_letter_topic == config.kafka.topic:
        raise ConfigError(
            "COUPON_DEAD_LETTER_TOPIC must not be COUPON_TOPIC: dead letters would be read again"
        )
