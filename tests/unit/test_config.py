"""Settings: every variable has its default, and a wrong value stops the start with one line that names it."""

from __future__ import annotations

import operator
import os
import re
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Final

import pytest
from django.conf import settings

from consumer import kafka as consumer_kafka
from coupons.eventlog import kafka_client, log_reader
from dev.processes import PROJECT
from runtime import config
from runtime.config import BASE_DIR, ConfigError, library_lines
from runtime.config.kafka import GroupProtocol
from runtime.config.language import Language
from runtime.config.limits import Limit
from runtime.config.redis import RedisKind
from runtime.operator_language import say, spoken

HERE = __file__  #: a file that can be read
#: variable -> (its place in Config, default, another value as text, as read, values that are refused)
VARIABLES: dict[str, tuple[str, Any, str, Any, list[str]]] = {
    "SECRET_KEY": ("site.secret_key", "for-tests", "other", "other", [""]),
    "DEBUG": ("site.debug", False, "true", True, ["maybe", "2"]),
    "ALLOWED_HOSTS": (
        "site.allowed_hosts", ("localhost", "127.0.0.1", "[::1]"), "a.kr,b.kr", ("a.kr", "b.kr"), [],
    ),
    "CSRF_TRUSTED_ORIGINS": ("site.csrf_trusted_origins", (), "https://a.kr", ("https://a.kr",), []),
    "COUPON_BEHIND_HTTPS": ("site.behind_https", False, "true", True, ["proxy", ""]),
    "COUPON_HSTS_S": ("site.hsts_s", 3600, "31536000", 31_536_000, ["0", "63072001", "1y"]),
    "COUPON_HSTS_SUBDOMAINS": ("site.hsts_subdomains", False, "true", True, ["all"]),
    "COUPON_LANGUAGE": ("language", "en", "ko", "ko", ["fr", "KO", "ko_KR.UTF-8"]),
    "DATABASE_URL": (
        "database.url", f"sqlite:///{BASE_DIR}/coupons.sqlite3",
        "mysql://u:p@h:3306/db", "mysql://u:p@h:3306/db",
        ["", "h:3306/db", "postgres://h/db", "mysql://h:port/db", "mysql://h:99999/db",
         "mysql:///db", "mysql:///db?unix_socket=", "mysql://h/db?ssl-ca=/ca.pem",
         "mysql://h/db?charset=latin1", "sqlite:////x?unix_socket=/s"],
    ),
    "DATABASE_REPLICA_URL": (
        "database.replica_url", "", "sqlite:////copy.sqlite3", "sqlite:////copy.sqlite3",
        ["mysql://u:p@h/db", "h:3306/db", "mysql://u:p@h/db?x=1"],
    ),
    "DATABASE_SSL_MODE": (
        "database.ssl_mode", "DISABLED", "REQUIRED", "REQUIRED", ["PREFERRED", "required", "VERIFY_CA"],
    ),
    "DATABASE_SSL_CA": ("database.ssl_ca", "", HERE, HERE, ["/nowhere.pem"]),
    "DATABASE_SSL_CERTIFICATE": ("database.ssl_certificate", "", HERE, HERE, [HERE, "/nowhere.pem"]),
    "DATABASE_SSL_KEY": ("database.ssl_key", "", HERE, HERE, [HERE, "/nowhere.pem"]),
    "REDIS_URL": (
        "redis.addresses", (("127.0.0.1", 6379),), "rediss://h:1/0", (("h", 1),),
        ["", "h:6379", "http://h", "redis://h:0/0", "redis://[h", "redis://h/x", "redis://a,b/0",
         "redis://h?ssl_ca_certs=/ca.pem", "redis+sentinel://h:1", "redis+sentinel://h/m/x",
         "redis+cluster://h/1", "redis+cluster://h,/0", "redis://h?db=x", "rediss://h?ssl_check_hostname=maybe"],
    ),
    "REDIS_SSL_CA": ("redis.ssl_ca", "", HERE, HERE, [HERE, "/nowhere.pem"]),
    "REDIS_SSL_CERTIFICATE": ("redis.ssl_certificate", "", HERE, HERE, [HERE, "/nowhere.pem"]),
    "REDIS_SSL_KEY": ("redis.ssl_key", "", HERE, HERE, [HERE, "/nowhere.pem"]),
    "COUPON_REDIS_TIMEOUT_MS": ("redis.timeout_s", 0.5, "250", 0.25, ["9", "10001", "1.5", "x", ""]),
    "COUPON_API_HOST": ("api.host", "127.0.0.1", "0.0.0.0", "0.0.0.0", [""]),
    "COUPON_API_PORT": ("api.port", 8080, "80", 80, ["0", "65536", "-1", "http", ""]),
    "COUPON_API_OPERATIONS_PORT": ("api.operations_port", 0, "8082", 8082, ["-1", "65536", "8080", "x", ""]),
    "COUPON_API_WORKERS": ("api.workers", 2, "1", 1, ["0", "257", "two"]),
    "COUPON_API_THREADS": ("api.threads", 4, "1", 1, ["0", "257", "x"]),
    "COUPON_VIEW_TTL_MS": ("api.coupon_view_ttl_s", 0.5, "0", 0.0, ["-1", "1501", "1s"]),
    "COUPON_API_KEEPALIVE_S": ("api.keepalive_s", 75, "15", 15, ["0", "3601", "1.5"]),
    "COUPON_CORS_ORIGINS": (
        "cors.origins", (), "https://a.kr, http://localhost:3000", ("https://a.kr", "http://localhost:3000"),
        ["null", "a.kr", "https://a.kr/", "https://a.kr:443", "https://A.kr", "https://a.kr/x", "ftp://a.kr",
         "https://u@a.kr", "https://*.a.kr,*", "https://a.kr:x", "https://", "https://a.kr?x"],
    ),
    "COUPON_CORS_CREDENTIALS": ("cors.credentials", False, "true", True, ["true", "some"]),
    "COUPON_LIMIT_USER_PER_MINUTE": (
        "limits.user", None, "6", Limit(per_minute=6, burst=5), ["-1", "1000001", "1/s", ""],
    ),
    "COUPON_LIMIT_USER_BURST": (
        "limits.user", None, "7", Limit(per_minute=6, burst=7), ["0", "100001", "x"],
    ),
    "COUPON_LIMIT_ADDRESS_PER_MINUTE": (
        "limits.address", None, "60", Limit(per_minute=60, burst=100), ["-1", "1000001", "x"],
    ),
    "COUPON_LIMIT_ADDRESS_BURST": (
        "limits.address", None, "9", Limit(per_minute=60, burst=9), ["0", "100001", "x"],
    ),
    "COUPON_PROXIES": (
        "limits.proxies", (), "10.0.0.0/8, ::1", (ip_network("10.0.0.0/8"), ip_network("::1")),
        ["10.0.0.1", "proxy", "10.0.0.1/8", "0.0.0.0/0", "::/0", "10.0.0.0/33"],
    ),
    "COUPON_LOG_MAX_BYTES": ("logs.max_bytes", 268_435_456, "0", 0, ["-1", "1e9", "100MB"]),
    "COUPON_LOG_BACKUPS": ("logs.backups", 10, "1", 1, ["0", "1001", "x"]),
    "COUPON_SENTRY_DSN": (
        "logs.sentry_dsn", "", "https://k@s.kr/7", "https://k@s.kr/7",
        ["s.kr", "https://s.kr/7", "https://k@s.kr", "ftp://k@s.kr/7"],
    ),
    "COUPON_SENTRY_ENVIRONMENT": (
        "logs.sentry_environment", "production", "stage", "stage", ["", "a b", "a/b"],
    ),
    "COUPON_TRACING": ("tracing.is_on", False, "true", True, ["some", ""]),
    "COUPON_TRACING_RATIO": ("tracing.ratio", 0.01, "1", 1.0, ["-0.1", "1.1", "1%", "nan"]),
    "COUPON_TRACING_MOST_PER_SECOND": ("tracing.most_per_second", 100, "1", 1, ["0", "100001", "x"]),
    "OTEL_EXPORTER_OTLP_ENDPOINT": (
        "tracing.endpoint", "http://localhost:4318", "https://o.kr", "https://o.kr", [],
    ),
    "COUPON_LOG_DIR": ("logs.directory", BASE_DIR / "logs", "/var/log/x", Path("/var/log/x"), []),
    "COUPON_LOG_LEVEL": ("logs.level", "INFO", "DEBUG", "DEBUG", ["info", "TRACE", ""]),
    "COUPON_LOG_FORMAT": ("logs.format", "text", "json", "json", ["xml", ""]),
    "COUPON_TOPIC": ("kafka.topic", "coupon-issue-events", "t", "t", ["", "t" * 201]),
    "KAFKA_BOOTSTRAP_SERVERS": ("kafka.bootstrap_servers", "127.0.0.1:9092", "a:1,b:2", "a:1,b:2", [""]),
    "KAFKA_SECURITY_PROTOCOL": ("kafka.protocol", "PLAINTEXT", "SSL", "SSL", ["", "ssl", "TLS", "SASL_SSL"]),
    "KAFKA_SASL_MECHANISM": ("kafka.mechanism", None, "PLAIN", "PLAIN", ["GSSAPI", "plain", "PLAIN"]),
    "KAFKA_SASL_USERNAME": ("kafka.properties[sasl.username]", None, "u", "u", ["u"]),
    "KAFKA_SASL_PASSWORD": ("kafka.properties[sasl.password]", None, "p", "p", ["p"]),
    "KAFKA_SASL_OAUTH_TOKEN_URL": (
        "kafka.properties[sasl.oauthbearer.token.endpoint.url]", None, "https://t/x", "https://t/x",
        ["https://t"],
    ),
    "KAFKA_SASL_OAUTH_CLIENT_ID": ("kafka.properties[sasl.oauthbearer.client.id]", None, "i", "i", ["i"]),
    "KAFKA_SASL_OAUTH_CLIENT_SECRET": (
        "kafka.properties[sasl.oauthbearer.client.secret]", None, "s", "s", ["s"],
    ),
    "KAFKA_SASL_OAUTH_SCOPE": ("kafka.properties[sasl.oauthbearer.scope]", None, "a b", "a b", ["a"]),
    "KAFKA_SSL_CA": ("kafka.properties[ssl.ca.location]", None, HERE, HERE, [HERE, "/nowhere.pem"]),
    "KAFKA_SSL_CERTIFICATE": ("kafka.properties[ssl.certificate.location]", None, HERE, HERE, [HERE]),
    "KAFKA_SSL_KEY": ("kafka.properties[ssl.key.location]", None, HERE, HERE, [HERE]),
    "KAFKA_SSL_KEY_PASSWORD": ("kafka.properties[ssl.key.password]", None, "k", "k", ["k"]),
    "KAFKA_CLIENT_CONFIG": (
        "kafka.properties[client.rack]", None, "# near us\n client.rack = b \n\n", "b",
        ["client.rack", "=b", "acks=1", "enable.idempotence=false", "enable.auto.commit=true",
         "partitioner=random", "isolation.level=read_uncommitted", "request.required.acks=0",
         "sasl.password=x", "bootstrap.servers=x", "group.id=x",
         "group.protocol=consumer", "partition.assignment.strategy=range", "group.instance.id=x",
         "client.rack=a\nauto.offset.reset=latest"],
    ),
    "COUPON_DEAD_LETTER_TOPIC": (
        "kafka.dead_letter_topic", "coupon-issue-events.DLT", "d", "d",
        ["", "d" * 250, "coupon-issue-events"],
    ),
    "COUPON_CONSUMER_GROUP_ID": ("kafka.group_id", "coupon-issue-consumer-group", "g", "g", [""]),
    "KAFKA_GROUP_PROTOCOL": (
        "kafka.group_protocol", "auto", "cooperative", "cooperative", ["", "classic", "AUTO"],
    ),
    "KAFKA_GROUP_INSTANCE_ID": (
        "kafka.group_instance_id", "", "consumer-0", "consumer-0", ["a b", "a/b", "a" * 250],
    ),
    "COUPON_TOPIC_PARTITIONS": ("kafka.partitions", 3, "12", 12, ["0", "10001", "x"]),
    "COUPON_TOPIC_REPLICATION_FACTOR": ("kafka.replication_factor", 1, "3", 3, ["0", "33"]),
    "COUPON_PRODUCER_LINGER_MS": ("producer.linger_ms", 0.2, "0", 0, ["-1", "1001", "nan"]),
    "COUPON_PRODUCER_BATCH_BYTES": ("producer.batch_bytes", 131072, "1024", 1024, ["1023", "10000001"]),
    "COUPON_PRODUCER_BUFFER_KBYTES": ("producer.buffer_kbytes", 32768, "64", 64, ["63", "2000001"]),
    "COUPON_PUBLISH_TIMEOUT_MS": ("producer.publish_timeout_ms", 9000, "5000", 5000, ["499", "9001"]),
    "COUPON_CONSUMER_BATCH_SIZE": ("consumer.batch_size", 1000, "1", 1, ["0", "10001", "1e3"]),
    "COUPON_CONSUMER_POLL_TIMEOUT_MS": ("consumer.poll_timeout_ms", 100, "1", 1, ["0", "5001"]),
    "COUPON_CONSUMER_SESSION_TIMEOUT_MS": (
        "consumer.session_timeout_ms", 10000, "6000", 6000, ["999", "1800001", "300001"],
    ),
    "COUPON_CONSUMER_MAX_POLL_INTERVAL_MS": (
        "consumer.max_poll_interval_ms", 300000, "60000", 60000, ["999", "86400001", "9999"],
    ),
    "COUPON_CONSUMER_FETCH_MIN_BYTES": ("consumer.fetch_min_bytes", 65_536, "1000", 1000, ["0", "100000001"]),
    "COUPON_CONSUMER_FETCH_WAIT_MS": ("consumer.fetch_wait_max_ms", 100, "0", 0, ["-1", "300001"]),
    "COUPON_CONSUMER_FETCH_MAX_BYTES": (
        "consumer.fetch_message_max_bytes", 1048576, "1024", 1024, ["1023", "1000000001"],
    ),
    "COUPON_HEALTH_PORT": ("consumer.health_port", 8081, "8082", 8082, ["0", "65536", "x"]),
    "COUPON_LOCK_EXPIRY_S": ("consumer.lock_expiry_s", 30, "60", 60, ["0", "3601", "0.5"]),
    "COUPON_LOCK_WAIT_S": ("consumer.lock_wait_s", 2, "5", 5, ["0", "61", "0.5"]),
    "COUPON_DEAD_LETTERS_IN_A_ROW": ("consumer.dead_letters_in_a_row", 1000, "0", 0, ["-1", "x"]),
    "COUPON_STALLED_AFTER_S": ("consumer.stalled_after_s", 60, "1", 1, ["0", "3601", "x"]),
    "COUPON_IDENTITY_SECRET": ("identity.secret", "", "s", "s", []),
    "COUPON_IDENTITY_OLD_HEADER": ("identity.old_header", True, "false", False, ["maybe", ""]),
    "COUPON_TICKET_KEYS": ("identity.keys_file", "", HERE, HERE, ["/nowhere.pem"]),
    "COUPON_TICKET_JWKS": (
        "identity.jwks", "", "https://login.kr/jwks", "https://login.kr/jwks",
        ["login.kr/jwks", "file:///etc/passwd", "ftp://login.kr/jwks", "https://"],
    ),
    "COUPON_TICKET_ISSUER": ("identity.issuer", "", "https://login.kr", "https://login.kr", ["i"]),
    "COUPON_TICKET_AUDIENCE": ("identity.audience", "", "coupons", "coupons", ["a"]),
    "COUPON_TICKET_LIFETIME_S": ("identity.lifetime_s", 3600, "60", 60, ["9", "86401", "1h"]),
    "COUPON_TICKET_LEEWAY_S": ("identity.leeway_s", 10, "0", 0, ["-1", "301", "x"]),
    "COUPON_OFFICE_KEYS": ("identity.office_keys", "", "k", "k", ["k"]),
    "COUPON_RETRY_BACKOFF_MAX_MS": ("consumer.retry_backoff_max_s", 30.0, "100", 0.1, ["99", "300001"]),
}  # fmt: skip
_LOGIN = {"KAFKA_SECURITY_PROTOCOL": "SASL_SSL", "KAFKA_SASL_MECHANISM": "PLAIN"}
_USER = {**_LOGIN, "KAFKA_SASL_USERNAME": "u", "KAFKA_SASL_PASSWORD": "p"}
_OAUTH = {
    "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
    "KAFKA_SASL_MECHANISM": "OAUTHBEARER",
    "KAFKA_SASL_OAUTH_TOKEN_URL": "https://t",
    "KAFKA_SASL_OAUTH_CLIENT_ID": "i",
    "KAFKA_SASL_OAUTH_CLIENT_SECRET": "s",
}
_REDIS = {"REDIS_URL": "rediss://h", "REDIS_SSL_CERTIFICATE": HERE, "REDIS_SSL_KEY": HERE}
_DATABASE = {
    "DATABASE_URL": "mysql://h/db",
    "DATABASE_SSL_MODE": "REQUIRED",
    "DATABASE_SSL_CERTIFICATE": HERE,
    "DATABASE_SSL_KEY": HERE,
}
_KAFKA = {"KAFKA_SECURITY_PROTOCOL": "SSL", "KAFKA_SSL_CERTIFICATE": HERE, "KAFKA_SSL_KEY": HERE}
#: What else must be set for the variable's other value to be taken.
BESIDE: dict[str, dict[str, str]] = {
    "COUPON_TICKET_ISSUER": {"COUPON_IDENTITY_SECRET": "s"},
    "COUPON_TICKET_AUDIENCE": {"COUPON_IDENTITY_SECRET": "s"},
    "COUPON_OFFICE_KEYS": {"COUPON_IDENTITY_SECRET": "s"},
    "DATABASE_SSL_MODE": {"DATABASE_URL": "mysql://h/db"},
    "DATABASE_SSL_CA": {"DATABASE_URL": "mysql://h/db"},
    "DATABASE_SSL_CERTIFICATE": _DATABASE,
    "DATABASE_SSL_KEY": _DATABASE,
    "REDIS_SSL_CA": {"REDIS_URL": "rediss://h"},
    "REDIS_SSL_CERTIFICATE": _REDIS,
    "COUPON_LIMIT_USER_BURST": {"COUPON_LIMIT_USER_PER_MINUTE": "6"},
    "COUPON_LIMIT_ADDRESS_BURST": {"COUPON_LIMIT_ADDRESS_PER_MINUTE": "60"},
    "COUPON_PROXIES": {"COUPON_LIMIT_ADDRESS_PER_MINUTE": "60"},
    "COUPON_CORS_CREDENTIALS": {"COUPON_CORS_ORIGINS": "https://a.kr"},
    "REDIS_SSL_KEY": _REDIS,
    "KAFKA_SASL_MECHANISM": _USER,
    "KAFKA_SASL_USERNAME": _USER,
    "KAFKA_SASL_PASSWORD": _USER,
    "KAFKA_SASL_OAUTH_TOKEN_URL": _OAUTH,
    "KAFKA_SASL_OAUTH_CLIENT_ID": _OAUTH,
    "KAFKA_SASL_OAUTH_CLIENT_SECRET": _OAUTH,
    "KAFKA_SASL_OAUTH_SCOPE": _OAUTH,
    "KAFKA_SSL_CA": {"KAFKA_SECURITY_PROTOCOL": "SSL"},
    "KAFKA_SSL_CERTIFICATE": _KAFKA,
    "KAFKA_SSL_KEY": _KAFKA,
    "KAFKA_SSL_KEY_PASSWORD": _KAFKA,
}
#: Each of these may stand in a file that ``NAME_FILE`` names.
SECRETS = [
    "SECRET_KEY",
    "COUPON_IDENTITY_SECRET",
    "COUPON_OFFICE_KEYS",
    "DATABASE_URL",
    "DATABASE_REPLICA_URL",
    "REDIS_URL",
    "KAFKA_SASL_PASSWORD",
    "KAFKA_SASL_OAUTH_CLIENT_SECRET",
    "KAFKA_SSL_KEY_PASSWORD",
    "KAFKA_CLIENT_CONFIG",
]
WRONG = [(name, wrong) for name, (*_, refused) in VARIABLES.items() for wrong in refused]


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(f"{name}_FILE", raising=False)
    monkeypatch.setenv("SECRET_KEY", "for-tests")


def set_all(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def look(place: str) -> Any:
    """What the settings have there: ``part.field``, or ``part.field[key]``."""
    path, _, key = place.removesuffix("]").partition("[")
    found = operator.attrgetter(path)(config.load())
    return found.get(key) if key else found


def refusal() -> str:
    with pytest.raises(ConfigError) as refused:
        config.load()
    return str(refused.value)


def refusals() -> tuple[str, str]:
    """In a log, and to a Korean operator."""
    with spoken(Language.KOREAN), pytest.raises(ConfigError) as refused:
        config.load()
    with spoken(Language.KOREAN):
        return str(refused.value), say(refused.value)


def test_these_are_all_the_variables() -> None:
    folder = Path(config.__file__).parent
    source = "".join(path.read_text() for path in folder.glob("*.py"))

    named = set(re.findall(r'env(?:\.\w+\(|,)\s*"([A-Z_]+)"', source))
    in_pairs = "".join(re.findall(r"env, name\) for name in \(([^)]*)\)", source))
    assert named | set(re.findall(r"[A-Z_]{2,}", in_pairs)) == set(VARIABLES)
    assert set(re.findall(r'secret\(\s*env,\s*"([A-Z_]+)"', source)) == set(SECRETS)


@pytest.mark.parametrize("language", ["", ".ko"])
def test_the_tables_list_every_variable_with_its_default(
    language: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = [PROJECT / f"{name}{language}.md" for name in ("README", "docs/connections", "docs/integrate")]
    text = "\n".join(page.read_text() for page in pages)
    rows = re.findall(r"^\| `([A-Z_]+)` \| (?:`([^`]*)`)? ?\|", text, re.MULTILINE)
    table = dict(rows)
    assert len(table) == len(rows)
    assert set(table) == set(VARIABLES)

    defaults = config.load()
    for name, told in table.items():
        if told and not set("…<") & set(told):  # where it is a value and no description of one
            monkeypatch.setenv(name, str(BASE_DIR / told) if name == "COUPON_LOG_DIR" else told)
    assert config.load() == defaults


@pytest.mark.parametrize("name", VARIABLES)
def test_each_variable_has_its_default(name: str) -> None:
    place, default, *_ = VARIABLES[name]

    assert look(place) == default


@pytest.mark.parametrize("name", VARIABLES)
def test_each_variable_is_read(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place, _, text, read, _ = VARIABLES[name]
    set_all(monkeypatch, {**BESIDE.get(name, {}), name: text})

    assert look(place) == read


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_may_stand_in_a_file(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place, _, text, read, _ = VARIABLES[name]
    beside = {**BESIDE.get(name, {}), **({} if name == "SECRET_KEY" else {"SECRET_KEY": "x"})}
    beside.pop(name, None)
    monkeypatch.delenv("SECRET_KEY")
    file = tmp_path / "secret"
    file.write_text(f"{text}\n")
    set_all(monkeypatch, {**beside, f"{name}_FILE": str(file)})
    assert look(place) == read

    monkeypatch.setenv(name, text)
    assert f"{name} and {name}_FILE" in refusal()
    monkeypatch.delenv(name)
    file.unlink()
    assert f"{name}_FILE: {file} cannot be read: No such file" in refusal()


def test_no_secret_is_in_the_settings_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """Errors and tracebacks may show it."""
    set_all(
        monkeypatch,
        {
            **_OAUTH,
            "KAFKA_SASL_OAUTH_CLIENT_SECRET": "geheim",
            "KAFKA_CLIENT_CONFIG": "ssl.keystore.password=geheim",
            "SECRET_KEY": "geheim",
            "COUPON_IDENTITY_SECRET": "geheim",
            "COUPON_OFFICE_KEYS": "geheim",
            "DATABASE_URL": "mysql://u:geheim@h/db",
            "DATABASE_REPLICA_URL": "mysql://u:geheim@r/db",
            "REDIS_URL": "redis+sentinel://u:geheim@h/m?sentinel_password=geheim",
        },
    )

    assert "geheim" not in repr(config.load())


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("unix://u:p@/r.sock?db=2", {"path": "/r.sock", "database": 2, "addresses": (), "username": "u"}),
        (
            "rediss://:p%2F@[::1]:7/3",
            {"addresses": (("::1", 7),), "database": 3, "password": "p/", "is_encrypted": True},
        ),
        (
            "redis+sentinel://u:p@a:1,b/main/4?sentinel_username=s&sentinel_password=t",
            {
                "kind": RedisKind.SENTINEL, "addresses": (("a", 1), ("b", 26379)), "service": "main",
                "database": 4, "sentinel_username": "s", "sentinel_password": "t", "longest_call_s": 1.5,
            },
        ),
        (
            "rediss+cluster://a,b:7001?ssl_check_hostname=false",
            {
                "kind": RedisKind.CLUSTER, "addresses": (("a", 6379), ("b", 7001)),
                "is_encrypted": True, "checks_hostname": False,
            },
        ),
    ],
)  # fmt: skip
def test_redis_urls(url: str, expected: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", url)
    reached = config.load().redis

    assert {name: getattr(reached, name) for name in expected} == expected


def test_a_ca_means_that_the_server_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, {"DATABASE_URL": "mysql://h/db", "DATABASE_SSL_CA": HERE})
    assert look("database.ssl_mode") == "VERIFY_IDENTITY"

    monkeypatch.setenv("DATABASE_SSL_MODE", "REQUIRED")
    assert "DATABASE_SSL_CA" in refusal()


@pytest.mark.parametrize("path", ["/run/mysqld.sock", "%2Frun%2Fmysqld.sock"])
def test_a_socket_needs_no_host(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.setenv("DATABASE_URL", f"mysql:///db?unix_socket={path}")

    assert look("database.url") == f"mysql:///db?unix_socket={path}"


def test_what_we_fix_ourselves_cannot_be_set_beside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever any client of ours sets is refused in KAFKA_CLIENT_CONFIG, but for a few defaults."""
    made: list[dict[str, Any]] = []
    for module in (consumer_kafka, log_reader):
        monkeypatch.setattr(module, "Consumer", made.append)
    kafka = replace(settings.CONFIG.kafka, group_instance_id="a")
    monkeypatch.setattr(settings, "CONFIG", replace(settings.CONFIG, kafka=kafka))
    for protocol in (GroupProtocol.CONSUMER, GroupProtocol.COOPERATIVE):
        consumer_kafka.make_consumer(group_id="g", protocol=protocol, on_error=print, on_commit=print)
    with suppress(AttributeError), log_reader.reader():
        pass
    ours = {name for each in (*made, kafka_client.producer_config()) for name in each}
    functions = {"logger", "error_cb", "on_commit"}
    may_differ = {
        "client.id", "reconnect.backoff.ms", "reconnect.backoff.max.ms",
        "socket.connection.setup.timeout.ms", "topic.metadata.refresh.interval.ms",
    }  # fmt: skip
    assert len(made) == 3
    for name in sorted(ours - functions - may_differ):
        monkeypatch.setenv("KAFKA_CLIENT_CONFIG", f"{name}=1")
        assert name in refusal()


@pytest.mark.parametrize(
    "line", ["topic.acks=0", "topic.partitioner=random", "topic.message.timeout.ms=1", "enabled_events=1"]
)
def test_a_promise_cannot_be_broken_by_another_name(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_CLIENT_CONFIG", line)

    assert line.split("=")[0].removeprefix("topic.") in refusal()


@pytest.mark.parametrize("name", ["error_cb", "stats_cb", "throttle_cb", "oauth_cb", "default.topic.config"])
def test_what_no_text_can_be_is_no_trace_of_python(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_CLIENT_CONFIG", f"{name}=1")

    assert name in refusal()


@pytest.mark.parametrize(("name", "wrong"), WRONG)
def test_a_wrong_value_is_one_line_that_names_the_variable(
    name: str, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, wrong)

    message, korean = refusals()

    assert name in message
    assert not re.search("[가-힣]", message)
    assert "\n" not in message
    assert name in korean
    assert re.search("[가-힣]", korean), korean
    assert "\n" not in korean


def test_the_dead_letters_follow_the_topics_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COUPON_TOPIC", "other")

    assert config.load().kafka.dead_letter_topic == "other.DLT"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("COUPON_LOCK_WAIT_S", "4"), ("COUPON_LOCK_EXPIRY_S", "3")),
        (("COUPON_CORS_CREDENTIALS", "true"), ("COUPON_CORS_ORIGINS", "*")),
        (("COUPON_PRODUCER_LINGER_MS", "500"), ("COUPON_PUBLISH_TIMEOUT_MS", "500")),
        (("COUPON_TRACING", "true"), ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317")),
    ],
)
def test_two_settings_that_do_not_go_together_are_both_named(
    first: tuple[str, str], second: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (first, second):
        monkeypatch.setenv(name, value)

    message = refusal()

    assert first[0] in message
    assert second[0] in message
    assert "\n" not in message


def test_a_development_machine_needs_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SECRET_KEY")
    assert "SECRET_KEY" in refusal()

    monkeypatch.setenv("DEBUG", "true")
    assert config.load().site.secret_key


@pytest.mark.parametrize("name", ["DATABASE_URL", "REDIS_URL"])
@pytest.mark.parametrize("wrong", ["wrong://u:geheim@h/1", "redis://:geheim@h:port/0", "geheim"])
def test_a_refusal_repeats_no_password(name: str, wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, wrong)

    assert "geheim" not in refusal()


@pytest.mark.parametrize(
    ("variables", "english", "korean"),
    [
        (
            {"COUPON_API_PORT": "http"},
            'Environment variable "COUPON_API_PORT" invalid: Not a valid integer.',
            "COUPON_API_PORT: 정수여야 합니다",
        ),
        (
            {"COUPON_API_WORKERS": "0"},
            'Environment variable "COUPON_API_WORKERS" invalid: '
            "['Must be greater than or equal to 1 and less than or equal to 256.']",
            "COUPON_API_WORKERS: 1부터 256까지여야 합니다",
        ),
        (
            {"COUPON_TOPIC": "a b"},
            'Environment variable "COUPON_TOPIC" invalid: '
            "[\"a topic's name has letters, digits, '.', '_' and '-'\"]",
            "COUPON_TOPIC: 토픽 이름에는 영문자, 숫자, '.', '_', '-'만 쓸 수 있습니다",
        ),
        (
            {"KAFKA_SASL_MECHANISM": "x"},
            'Environment variable "KAFKA_SASL_MECHANISM" invalid: '
            "['Must be one of: , PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER.']",
            "KAFKA_SASL_MECHANISM: 비워 두거나 다음 중 하나여야 합니다: "
            "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER",
        ),
        (
            {"COUPON_LOG_FORMAT": "xml"},
            "Environment variable \"COUPON_LOG_FORMAT\" invalid: ['Must be one of: text, json.']",
            "COUPON_LOG_FORMAT: 다음 중 하나여야 합니다: text, json",
        ),
        (
            {"KAFKA_SASL_USERNAME": "u"},
            "KAFKA_SASL_USERNAME is set, and is not used with an empty KAFKA_SASL_MECHANISM: "
            "change one of them",
            "KAFKA_SASL_USERNAME이(가) 설정되어 있는데 KAFKA_SASL_MECHANISM이 빈 상태에서는 쓰이지 않습니다. "
            "둘 중 하나를 바꾸세요",
        ),
        (
            {"REDIS_URL": "redis+cluster://h?ssl=x"},
            "REDIS_URL has the option ssl, which is unknown or has no usable value: TLS is rediss… and "
            "REDIS_SSL_CA, REDIS_SSL_CERTIFICATE, REDIS_SSL_KEY; known here: none",
            "REDIS_URL: 옵션 ssl을(를) 알 수 없거나 그 값을 쓸 수 없습니다. TLS는 rediss…와 REDIS_SSL_CA, "
            "REDIS_SSL_CERTIFICATE, REDIS_SSL_KEY로 설정하세요. 여기서 쓸 수 있는 옵션: 없음",
        ),
        (
            {"COUPON_PROXIES": "{0}", "COUPON_LIMIT_ADDRESS_PER_MINUTE": "6"},
            "COUPON_PROXIES has '{0}', which is no address and no network: 10.0.0.7 or 10.0.0.0/8",
            "COUPON_PROXIES의 '{0}': 주소도 네트워크도 아닙니다. 10.0.0.7이나 10.0.0.0/8처럼 쓰세요",
        ),
    ],
)
def test_the_line_is_english_in_a_log_and_the_operators_where_it_is_said(
    variables: dict[str, str], english: str, korean: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_all(monkeypatch, variables)

    assert refusals() == (english, korean)


def test_a_line_of_the_library_that_is_not_known_stays_english() -> None:
    line = "Environment variable {braces}: what a later release may say"
    with spoken(Language.KOREAN):
        assert say(library_lines.refused(line)) == line


_PORT: Final = {"COUPON_API_PORT": "http"}
_PORT_IN_ENGLISH: Final = 'settings: Environment variable "COUPON_API_PORT" invalid: Not a valid integer.'


@pytest.mark.parametrize(
    ("command", "variables", "line"),
    [
        (["manage.py", "status"], _PORT, "설정: COUPON_API_PORT: 정수여야 합니다"),
        (["manage.py", "migrate"], _PORT, "설정: COUPON_API_PORT: 정수여야 합니다"),
        (["manage.py", "run_coupon_consumer"], _PORT, "설정: COUPON_API_PORT: 정수여야 합니다"),
        (
            ["manage.py", "status"],
            {"COUPON_LOG_DIR": "/proc/none"},
            "설정: COUPON_LOG_DIR: /proc/none/core/application.log에 쓸 수 없습니다: "
            "No such file or directory",
        ),
        (["manage.py", "status", "--json"], _PORT, _PORT_IN_ENGLISH),
        (
            ["manage.py", "status"],
            {"COUPON_LANGUAGE": "fr"},
            "settings: Environment variable \"COUPON_LANGUAGE\" invalid: ['Must be one of: , ko, en.']",
        ),
        (["manage.py", "status"], {**_PORT, "PYTHONIOENCODING": "ascii"}, _PORT_IN_ENGLISH),
        (["-m", "gunicorn", "-c", "couponsite/gunicorn_conf.py", "couponsite.wsgi"], _PORT, _PORT_IN_ENGLISH),
    ],
)
def test_manage_py_refuses_in_the_operators_language(
    command: list[str], variables: dict[str, str], line: str
) -> None:
    spoken_there = {"COUPON_LANGUAGE": "ko", "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(
        [sys.executable, *command],
        cwd=PROJECT,
        env={**os.environ, "SECRET_KEY": "x", **spoken_there, **variables},
        capture_output=True,
        timeout=30,
    )

    assert done.returncode == 1
    assert done.stdout == b""
    assert done.stderr.decode().splitlines() == [line]


@pytest.mark.parametrize(
    "command",
    [
        ["manage.py", "check"],
        ["manage.py", "run_coupon_consumer"],
        ["-m", "gunicorn", "-c", "couponsite/gunicorn_conf.py", "couponsite.wsgi"],
    ],
)
def test_every_program_stops_with_that_one_line(command: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, *command],
        cwd=PROJECT,
        env={**os.environ, "SECRET_KEY": "x", "COUPON_API_PORT": "http"},
        capture_output=True,
        text=True,
        timeout=30,
    )

    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert "COUPON_API_PORT" in line
