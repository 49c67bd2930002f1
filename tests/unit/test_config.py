"""Settings: every variable has its default, and a wrong value stops the start with one line that names it."""

from __future__ import annotations

import operator
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dev.processes import PROJECT
from runtime import config
from runtime.config import BASE_DIR, ConfigError

#: variable -> (its place in Config, default, another value as text, as read, values that are refused)
VARIABLES: dict[str, tuple[str, Any, str, Any, list[str]]] = {
    "SECRET_KEY": ("site.secret_key", "for-tests", "other", "other", [""]),
    "DEBUG": ("site.debug", False, "true", True, ["maybe", "2"]),
    "ALLOWED_HOSTS": (
        "site.allowed_hosts", ("localhost", "127.0.0.1", "[::1]"), "a.kr,b.kr", ("a.kr", "b.kr"), [],
    ),
    "CSRF_TRUSTED_ORIGINS": ("site.csrf_trusted_origins", (), "https://a.kr", ("https://a.kr",), []),
    "DATABASE_URL": (
        "site.database_url", f"sqlite:///{BASE_DIR}/coupons.sqlite3",
        "mysql://u:p@h:3306/db", "mysql://u:p@h:3306/db",
        ["", "h:3306/db", "postgres://h/db", "mysql://h:port/db", "mysql://h:99999/db"],
    ),
    "REDIS_URL": (
        "site.redis_url", "redis://127.0.0.1:6379/0", "rediss://h:1/0", "rediss://h:1/0",
        ["", "h:6379", "http://h", "redis://h:0/0", "redis://[h"],
    ),
    "COUPON_REDIS_TIMEOUT_MS": ("site.redis_timeout_s", 0.5, "250", 0.25, ["9", "10001", "1.5", "x", ""]),
    "COUPON_API_HOST": ("api.host", "127.0.0.1", "0.0.0.0", "0.0.0.0", [""]),
    "COUPON_API_PORT": ("api.port", 8080, "80", 80, ["0", "65536", "-1", "http", ""]),
    "COUPON_API_WORKERS": ("api.workers", 2, "1", 1, ["0", "257", "two"]),
    "COUPON_API_THREADS": ("api.threads", 4, "1", 1, ["0", "257", "x"]),
    "COUPON_VIEW_TTL_MS": ("api.coupon_view_ttl_s", 0.2, "0", 0.0, ["-1", "1501", "1s"]),
    "COUPON_API_KEEPALIVE_S": ("api.keepalive_s", 75, "15", 15, ["0", "3601", "1.5"]),
    "COUPON_LOG_MAX_BYTES": ("logs.max_bytes", 268_435_456, "0", 0, ["-1", "1e9", "100MB"]),
    "COUPON_LOG_BACKUPS": ("logs.backups", 10, "1", 1, ["0", "1001", "x"]),
    "COUPON_LOG_DIR": ("logs.directory", BASE_DIR / "logs", "/var/log/x", Path("/var/log/x"), []),
    "COUPON_LOG_LEVEL": ("logs.level", "INFO", "DEBUG", "DEBUG", ["info", "TRACE", ""]),
    "COUPON_LOG_FORMAT": ("logs.format", "text", "json", "json", ["xml", ""]),
    "COUPON_TOPIC": ("kafka.topic", "coupon-issue-events", "t", "t", ["", "t" * 201]),
    "KAFKA_BOOTSTRAP_SERVERS": ("kafka.bootstrap_servers", "127.0.0.1:9092", "a:1,b:2", "a:1,b:2", [""]),
    "COUPON_DEAD_LETTER_TOPIC": (
        "kafka.dead_letter_topic", "coupon-issue-events.DLT", "d", "d",
        ["", "d" * 250, "coupon-issue-events"],
    ),
    "COUPON_CONSUMER_GROUP_ID": ("kafka.group_id", "coupon-issue-consumer-group", "g", "g", [""]),
    "COUPON_TOPIC_PARTITIONS": ("kafka.partitions", 3, "12", 12, ["0", "10001", "x"]),
    "COUPON_TOPIC_REPLICATION_FACTOR": ("kafka.replication_factor", 1, "3", 3, ["0", "33"]),
    "COUPON_PRODUCER_LINGER_MS": ("producer.linger_ms", 1, "0", 0, ["-1", "1001"]),
    "COUPON_PRODUCER_BATCH_BYTES": ("producer.batch_bytes", 131072, "1024", 1024, ["1023", "10000001"]),
    "COUPON_PRODUCER_BUFFER_KBYTES": ("producer.buffer_kbytes", 32768, "64", 64, ["63", "2000001"]),
    "COUPON_PUBLISH_TIMEOUT_MS": ("producer.publish_timeout_ms", 5000, "9000", 9000, ["499", "9001"]),
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
    "COUPON_IDENTITY_SECRET": ("api.identity_secret", "", "s", "s", []),
    "COUPON_RETRY_BACKOFF_MAX_MS": ("consumer.retry_backoff_max_s", 30.0, "100", 0.1, ["99", "300001"]),
}  # fmt: skip
WRONG = [(name, wrong) for name, (*_, refused) in VARIABLES.items() for wrong in refused]


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SECRET_KEY", "for-tests")


def refusal() -> str:
    with pytest.raises(ConfigError) as refused:
        config.load()
    return str(refused.value)


def test_these_are_all_the_variables() -> None:
    source = Path(config.__file__).read_text()

    assert set(re.findall(r'env(?:\.\w+\(|,)\s*"([A-Z_]+)"', source)) == set(VARIABLES)


@pytest.mark.parametrize("readme", sorted(PROJECT.glob("README*.md")), ids=lambda path: path.name)
def test_the_readmes_table_lists_every_variable_with_its_default(
    readme: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = re.findall(r"^\| `([A-Z_]+)` \| (?:`([^`]*)`)? ?\|", readme.read_text(), re.MULTILINE)
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

    assert operator.attrgetter(place)(config.load()) == default


@pytest.mark.parametrize("name", VARIABLES)
def test_each_variable_is_read(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place, _, text, read, _ = VARIABLES[name]
    monkeypatch.setenv(name, text)

    assert operator.attrgetter(place)(config.load()) == read


@pytest.mark.parametrize(("name", "wrong"), WRONG)
def test_a_wrong_value_is_one_line_that_names_the_variable(
    name: str, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, wrong)

    message = refusal()

    assert name in message
    assert "\n" not in message


def test_the_dead_letters_follow_the_topics_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COUPON_TOPIC", "other")

    assert config.load().kafka.dead_letter_topic == "other.DLT"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("COUPON_LOCK_WAIT_S", "4"), ("COUPON_LOCK_EXPIRY_S", "3")),
        (("COUPON_PRODUCER_LINGER_MS", "500"), ("COUPON_PUBLISH_TIMEOUT_MS", "500")),
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
