"""The preflight on real servers: nothing on a right system, and each planted mistake by its name.

What can be wrong at the same time is planted at the same time. Clocks: the database's is put wrong by its own
``init_connect``; for Redis and the brokers ours is, because nothing here may set the machine's.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import NewTopic  # type: ignore[attr-defined]

from coupons.operations.preflight import running
from coupons.operations.preflight.catalogue import SUBJECTS
from coupons.operations.preflight.findings import Expected, Level
from dev.clusters import urls
from dev.clusters.brokers import Brokers
from dev.clusters.certificates import Certificates
from dev.clusters.redis import Server
from dev.processes import PROJECT
from tests import stack

SERVERS = ("--only", "settings,database,redis,kafka")  #: without this machine, which may be anything
PRODUCTION = {
    "ALLOWED_HOSTS": "coupons.example.com",
    "COUPON_BEHIND_HTTPS": "true",
    "COUPON_HSTS_SUBDOMAINS": "true",
    "COUPON_API_OPERATIONS_PORT": "8082",
    "COUPON_IDENTITY_SECRET": uuid.uuid4().hex,
    "COUPON_PUBLISH_TIMEOUT_MS": "5000",
    "DEBUG": "false",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    exit_code: int
    level: str
    checks: Sequence[Mapping[str, str]]

    def bad(self) -> dict[str, str]:
        """What is red or yellow, by check, all findings of a check in one text."""
        found: dict[str, str] = {}
        for each in self.checks:
            if each["level"] in ("red", "yellow"):
                line = f"{each['level']}: {each['what']}. Mend: {each['mend']}\n"
                found[each["check"]] = found.get(each["check"], "") + line
        return found


def manage(environment: Mapping[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", *words],
        cwd=PROJECT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def preflight(environment: Mapping[str, str], *words: str) -> Report:
    done = manage(environment, "preflight", "--json", *words)
    assert done.stdout, done.stderr
    told = json.loads(done.stdout)
    assert told["exitCode"] == done.returncode
    assert all(each["mend"] for each in told["checks"] if each["level"] in ("red", "yellow"))
    return Report(exit_code=done.returncode, level=told["level"], checks=told["checks"])


@pytest.fixture(scope="module")
def right(
    brokers: Mapping[str, str], redis_server: Server, database_with_tls: str, certificates: Certificates
) -> Mapping[str, str]:
    """Production settings over servers with TLS and logins, as a deployment has them."""
    environment = {
        **PRODUCTION,
        **urls.of_kafka(brokers["login"], certificates, "SCRAM-SHA-512"),
        **urls.of_server(redis_server),
        **urls.of_database(database_with_tls, certificates),
        "COUPON_TOPIC": f"events-{uuid.uuid4().hex[:12]}",
        "COUPON_CONSUMER_GROUP_ID": "group-of-the-preflight",
    }
    for words in (["migrate", "-v0"], ["create_topics"]):
        done = manage(environment, *words)
        assert done.returncode == 0, done.stderr
    redis_server.client().config_set("maxmemory", "256mb")
    return environment


def test_nothing_is_found_on_a_right_system(right: Mapping[str, str]) -> None:
    report = preflight(right, *SERVERS)

    assert report.bad() == {}
    assert (report.exit_code, report.level) == (0, "note")
    assert sum(each["level"] == "green" for each in report.checks) > 40


def test_wrong_authorities(right: Mapping[str, str], certificates: Certificates) -> None:
    other = str(certificates.other_ca)
    names = ("DATABASE_SSL_CA", "REDIS_SSL_CA", "KAFKA_SSL_CA")
    report = preflight({**right, **dict.fromkeys(names, other)}, *SERVERS)

    bad = report.bad()
    assert set(bad) == {"database.answers", "redis.answers", "kafka.answers"}
    for name, variable in zip(bad, names, strict=True):
        assert variable in bad[name], bad
    assert report.exit_code == 1


def test_mistakes_in_settings(right: Mapping[str, str], redis_server: Server) -> None:
    """Redis is asked in clear text, beside servers that are asked over TLS."""
    planted = {"SECRET_KEY": "short", "DEBUG": "true", "ALLOWED_HOSTS": "*", "COUPON_LOG_LEVEL": "DEBUG"}
    clear = {"REDIS_URL": right["REDIS_URL"].replace("rediss:", "redis:"), "REDIS_SSL_CA": ""}
    bad = preflight({**right, **planted, **clear}, "--only", "settings,redis").bad()

    assert "SECRET_KEY has 5 characters" in bad["settings.secrets"]
    assert "DEBUG" in bad["settings.debug"]
    assert "ALLOWED_HOSTS" in bad["settings.hosts"]
    assert "COUPON_LOG_LEVEL" in bad["settings.logging"]
    assert "the connection to Redis is in clear text" in bad["settings.encryption"]
    assert "rediss" in bad["redis.answers"]


def test_unacknowledged_writes_are_refused(right: Mapping[str, str]) -> None:
    bad = preflight({**right, "KAFKA_CLIENT_CONFIG": "acks=1"}).bad()

    assert "acks" in bad["settings.usable"]


def test_a_log_that_cannot_be_written_and_few_files(right: Mapping[str, str], tmp_path: Path) -> None:
    (tmp_path / "consumer").mkdir()
    (tmp_path / "consumer" / "application.log").symlink_to("/dev/full")
    environment = {**os.environ, **right, "COUPON_LOG_DIR": str(tmp_path), "COUPON_API_WORKERS": "200"}
    line = 'ulimit -n 300 && exec "$@"'
    command = [sys.executable, "manage.py", "preflight", "--only", "machine"]
    done = subprocess.run(
        ["sh", "-c", line, "sh", *command],
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 1
    assert "RED    machine.logs" in done.stdout
    assert "No space left" in done.stdout
    assert "RED    machine.files: 300 open files" in done.stdout
    assert "YELLOW machine.cores" in done.stdout
    assert "\033" not in done.stdout
    assert not done.stderr


def test_a_missing_topic_and_a_missing_right(right: Mapping[str, str]) -> None:
    planted = {"COUPON_DEAD_LETTER_TOPIC": "events-of-nobody", "COUPON_CONSUMER_GROUP_ID": "anothers"}
    bad = preflight({**right, **planted}, "--only", "kafka").bad()

    assert "the topic events-of-nobody is missing" in bad["kafka.topics"]
    assert "python manage.py create_topics" in bad["kafka.topics"]
    assert "READ the group anothers" in bad["kafka.rights"]


@contextmanager
def redis_with(server: Server, **settings: str) -> Iterator[None]:
    client = server.client()
    before = {name: str(client.config_get(name)[name]) for name in settings}
    for name, value in settings.items():
        client.config_set(name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            client.config_set(name, value)


def test_mistakes_in_redis(right: Mapping[str, str], redis_server: Server) -> None:
    planted = {"maxmemory-policy": "allkeys-lru", "maxclients": "60"}
    with redis_with(redis_server, **planted):
        bad = preflight(right, "--only", "redis", "--users", "2000000").bad()
    assert "maxmemory-policy is allkeys-lru" in bad["redis.policy"]
    assert "2,000,000 users need 515" in bad["redis.memory"]
    assert "maxclients is 60" in bad["redis.clients"]

    client = redis_server.client()
    client.execute_command("ACL SETUSER coupon -@scripting -info")
    try:
        bad = preflight(right, "--only", "redis").bad()
    finally:
        client.execute_command("ACL SETUSER coupon +@scripting +info")
    assert "+info" in bad["redis.readable"]
    assert "docs/connections.md" in bad["redis.rights"]


def test_a_redis_that_hangs_is_one_red_line_and_the_rest_goes_on(
    right: Mapping[str, str], redis_server: Server
) -> None:
    with redis_server.process.paused():
        report = preflight(right, *SERVERS)

    assert set(report.bad()) == {"redis.answers"}


def test_a_redis_of_several_servers(
    right: Mapping[str, str],
    redis_nodes: Sequence[Server],
    redis_with_sentinel: tuple[Server, Server, int],
    certificates: Certificates,
) -> None:
    *_, port = redis_with_sentinel
    assert preflight({**right, **urls.of_sentinel(port, certificates)}, "--only", "redis").bad() == {}
    of_cluster = {**right, **urls.of_cluster(redis_nodes)}
    assert preflight(of_cluster, "--only", "redis").bad() == {}
    with redis_with(redis_nodes[1], **{"maxmemory-policy": "volatile-lru"}):
        bad = preflight(of_cluster, "--only", "redis").bad()
    assert set(bad) == {"redis.policy"}
    assert f":{redis_nodes[1].port}'s maxmemory-policy is volatile-lru" in bad["redis.policy"]


def test_mistakes_in_a_cluster_of_three(three: Brokers) -> None:
    """The events have three replicas of which one is enough, and the dead letters have one."""
    admin = three.admin()
    name = f"events-{uuid.uuid4().hex[:12]}"
    environment = {**PRODUCTION, **three.environment(), "COUPON_TOPIC": name}
    events = {
        "min.insync.replicas": "1",
        "retention.ms": "3600000",
        "cleanup.policy": "compact",
        "max.message.bytes": "50000",
        "unclean.leader.election.enable": "true",
    }
    letters = NewTopic(f"{name}.DLT", 1, 1, config={"max.message.bytes": "50000"})
    wanted = [NewTopic(name, 2, 3, config=events), letters]
    for made in admin.create_topics(wanted).values():
        made.result(30)
    bad = preflight(environment, "--only", "kafka").bad()

    assert f"{name} has min.insync.replicas 1" in bad["kafka.min-isr"]
    assert f"{name}.DLT has 1 replica, and there are 3 brokers" in bad["kafka.replicas"]
    assert "has 2 partitions" in bad["kafka.partitions"]
    assert "retention.ms 3600000" in bad["kafka.retention"]
    assert "is compacted" in bad["kafka.cleanup"]
    assert "takes 50,000 bytes" in bad["kafka.message-size"]
    assert f"{name}.DLT takes 50000 bytes" in bad["kafka.message-size"]
    assert "unclean" in bad["kafka.elections"]
    right_one = environment | {"COUPON_TOPIC": f"{name}-right"}
    assert manage(right_one, "create_topics").returncode == 0
    report = preflight(right_one, "--only", "kafka")
    assert report.bad() == {}
    clocks = [each for each in report.checks if each["check"] == "kafka.clock"]
    assert [each["level"] for each in clocks] == ["green"]
    assert not [topic for topic in admin.list_topics(timeout=10).topics if ".preflight-" in topic]


@contextmanager
def variables(**planted: str) -> Iterator[None]:
    """The database server's own, of the tests' stack."""
    before = {
        name: stack.services("sql", f"SELECT @@GLOBAL.{name}").split("\n")[-2].strip() for name in planted
    }
    try:
        for name, value in planted.items():
            stack.services("sql", f"SET GLOBAL {name} = {value}")
        yield
    finally:
        for name, value in before.items():
            shown = value if value.isdecimal() else f"'{value}'"
            stack.services("sql", f"SET GLOBAL {name} = {shown}")


@pytest.fixture
def own_database() -> Iterator[Mapping[str, str]]:
    """A migrated database of this test alone, beside the suite's, on a server as production has it.

    The tests of the backup start the server with a binary log, which MariaDB does not sync by default.
    """
    name = f"test_preflight_{uuid.uuid4().hex[:8]}"
    stack.services("sql", f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
    environment = {**PRODUCTION, "DATABASE_URL": f"{os.environ['DATABASE_URL'].rpartition('/')[0]}/{name}"}
    try:
        assert manage(environment, "migrate", "-v0").returncode == 0
        with variables(sync_binlog="1"):
            yield {**environment, "NAME": name}
    finally:
        stack.services("sql", f"DROP DATABASE {name}")


def test_mistakes_in_the_database(own_database: Mapping[str, str]) -> None:
    name = own_database["NAME"]
    database = ("--only", "database")
    assert preflight(own_database, *database).bad() == {}
    for statement in (
        f"ALTER DATABASE {name} CHARACTER SET latin1",
        f"ALTER TABLE {name}.coupon_dead_letter CONVERT TO CHARACTER SET latin1",
        f"ALTER TABLE {name}.coupon_issue_outcome ENGINE=MyISAM",
        f"ALTER TABLE {name}.coupon_disclosed_request ROW_FORMAT=COMPACT",
    ):
        stack.services("sql", statement)
    planted = {
        "max_connections": "30",
        "innodb_flush_log_at_trx_commit": "2",
        "wait_timeout": "45",
        "sql_mode": "''",
        "time_zone": "'+09:00'",
        "init_connect": "'SET timestamp = UNIX_TIMESTAMP() + 180'",
    }
    with variables(**planted):
        bad = preflight(own_database, *database).bad()

    schema = bad["database.schema"]
    assert "new tables would have the character set latin1" in schema
    assert "table coupon_dead_letter: character set of the table is latin1" in schema
    assert "table coupon_issue_outcome: engine is MyISAM" in schema
    assert "ROW_FORMAT=DYNAMIC" in bad["database.rows"]
    assert "max_connections is 30" in bad["database.connections"]
    assert "innodb_flush_log_at_trx_commit is 2" in bad["database.durability"]
    assert "wait_timeout is 45" in bad["database.sessions"]
    assert "sql_mode is empty" in bad["database.sessions"]
    assert "+9 h from UTC" in bad["database.time-zone"]
    assert "180 s ahead" in bad["database.clock"] or "179 s ahead" in bad["database.clock"]


def test_a_read_only_database_and_a_missing_migration(own_database: Mapping[str, str]) -> None:
    name = own_database["NAME"]
    with variables(read_only="1"):
        bad = preflight(own_database, "--only", "database").bad()
    assert set(bad) == {"database.read-only"}
    assert "a replica, or a primary that was demoted" in bad["database.read-only"]

    stack.services(
        "sql", f"DELETE FROM {name}.django_migrations WHERE app = 'coupons' ORDER BY id DESC LIMIT 1"
    )
    bad = preflight(own_database, "--only", "database").bad()
    assert "it is not migrated" in bad["database.schema"]
    assert "python manage.py migrate" in bad["database.schema"]


@pytest.mark.django_db(transaction=True)
def test_the_clocks_of_all_three_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours is three minutes behind; the servers are the tests' own."""
    truly = time.time
    monkeypatch.setattr(time, "time", lambda: truly() - 180)
    only = ("database.clock", "redis.clock", "kafka.clock")
    found: dict[str, Any] = {
        result.check: result
        for results in running.look(SUBJECTS, Expected(), only=only)
        for result in results
    }

    assert {name: each.level for name, each in found.items()} == dict.fromkeys(only, Level.RED)
    assert all("s ahead of this machine's" in each.what for each in found.values())
