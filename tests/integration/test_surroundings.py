"""Databases that cannot work: each is named, and what is named as its mend mends it."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection, connections
from django.utils import timezone
from pytest_django.plugin import DjangoDbBlocker

from coupons.models import IssueOutcome
from coupons.operations import surroundings
from coupons.operations.surroundings import judging, reading
from coupons.operations.surroundings.watching import Watch
from dev.processes import PROJECT
from tests.own_database import own_database, sql

mysql_only = pytest.mark.services_only  # SQLite has no such thing


@pytest.fixture(scope="module")
def url(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[str]:
    with django_db_blocker.unblock(), own_database() as url:
        yield url


@pytest.fixture(autouse=True)
def _clean(url: str, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """Each test leaves the database as it found it."""
    with django_db_blocker.unblock():
        assert surroundings.problems() == []
        yield
        assert surroundings.problems() == []
        connection.close()


BROKEN = [
    (
        "ALTER TABLE coupon_dead_letter CONVERT TO CHARACTER SET latin1",
        "of the table is latin1",
    ),
    ("ALTER TABLE user CONVERT TO CHARACTER SET utf8mb3", "character set of the table is utf8mb3"),
    (
        "ALTER TABLE user MODIFY name VARCHAR(255) CHARACTER SET latin1 NOT NULL",
        "table user, name: character set is latin1, it must be utf8mb4",
    ),
    ("ALTER TABLE coupon_issue_outcome MODIFY user_id INT NULL", "type is int"),
    ("ALTER TABLE coupon_issue_outcome MODIFY processed_at DATETIME NOT NULL", "type is datetime"),
    ("ALTER TABLE coupon_dead_letter MODIFY original_value BLOB NULL", "type is blob"),
    ("ALTER TABLE coupon_dead_letter ENGINE=MyISAM", "engine is MyISAM, it must be InnoDB"),
    (
        "ALTER TABLE user_coupon ALTER COLUMN status DROP DEFAULT",
        "status: default is missing",
    ),
    ("ALTER TABLE coupon MODIFY stock BIGINT NULL", "table coupon, stock: NULL is allowed"),
    ("ALTER TABLE user_coupon MODIFY used_at DATETIME(6) NOT NULL", "used_at: NULL is refused"),
    ("ALTER TABLE user_coupon DROP COLUMN request_id", "user_coupon, request_id: the column is missing"),
    ("DROP TABLE coupon_dead_letter", "table coupon_dead_letter: the table is missing"),
    ("ALTER TABLE coupon_issue_outcome DROP PRIMARY KEY", "primary key is missing, it must be request_id"),
    (
        "ALTER TABLE coupon DROP CONSTRAINT coupon_stock_not_negative",
        "negative: check constraint",
    ),
    (
        "ALTER TABLE user_coupon ADD INDEX for_the_key (coupon_id), DROP INDEX user_coupon_once_per_user",
        "user_coupon_once_per_user: unique constraint is missing, it must be on coupon_id, user_id",
    ),
    (
        "ALTER TABLE point DROP FOREIGN KEY {point_key}, ADD CONSTRAINT FKof_hibernate "
        "FOREIGN KEY (user_id) REFERENCES user (user_id) ON DELETE CASCADE",
        "table point, user_id: foreign key is one that deletes along, it must be to user.user_id, ON DELETE",
    ),
    ("ALTER TABLE point DROP FOREIGN KEY {point_key}", "table point, user_id: foreign key is missing"),
]


def _broken(statement: str) -> None:
    keys = reading.tables(["point"])["point"].foreign_keys
    sql(statement.format(point_key=next(iter(keys), "")))


def _mended(mend: str) -> None:
    for statement in mend.split("; "):
        sql(statement)


@mysql_only
@pytest.mark.parametrize(("statement", "told"), BROKEN)
def test_what_is_broken_is_named_and_the_mend_mends_it(statement: str, told: str) -> None:
    _broken(statement)

    found = surroundings.problems()

    assert told in surroundings.in_one_line(found)
    assert "\n" not in surroundings.in_one_line(found)
    for problem in found:
        _mended(problem.mend)


@mysql_only
@pytest.mark.parametrize("charset", ["utf8mb4", "latin1"])
def test_uuids_kept_as_32_characters_by_an_older_mariadb_are_found_again(charset: str) -> None:
    if not reading.is_mariadb():
        assert reading.tables(["user_coupon"])["user_coupon"].columns["request_id"].type == "char(32)"
        return
    request_id = uuid.uuid4()
    for statement in (
        "user_coupon MODIFY request_id CHAR(32) CHARACTER SET {} NULL",
        "coupon_issue_outcome MODIFY request_id CHAR(32) CHARACTER SET {} NOT NULL",
    ):
        sql("ALTER TABLE " + statement.format(charset))
    sql(
        "INSERT INTO coupon_issue_outcome (request_id, status, requested_at) VALUES (%s, 'FAILED', %s)",
        [request_id.hex, "2026-01-01 00:00:00"],
    )

    found = surroundings.problems()

    assert "request_id: type is char(32), it must be uuid. Mend it with: ALTER TABLE" in str(found[0])
    assert "(1 more: python manage.py check --database default)" in surroundings.in_one_line(found)
    for problem in found:
        _mended(problem.mend)
    assert IssueOutcome.objects.get(pk=request_id).status == "FAILED"
    IssueOutcome.objects.all().delete()


@mysql_only
def test_a_column_of_somebody_elses_that_every_insert_must_name_is_named() -> None:
    sql("ALTER TABLE user_coupon ADD COLUMN channel VARCHAR(10) NOT NULL")

    [problem] = surroundings.problems()

    assert "table user_coupon, channel: an unknown column that every INSERT must name" in problem.what
    assert "ALTER TABLE user_coupon ALTER COLUMN channel SET DEFAULT" in problem.mend
    sql("ALTER TABLE user_coupon DROP COLUMN channel")


@mysql_only
def test_a_missing_index_and_another_name_stop_nothing() -> None:
    sql("ALTER TABLE coupon_issue_outcome DROP INDEX outcome_coupon_rank")
    sql("ALTER TABLE user_coupon RENAME INDEX user_coupon_once_per_user TO UK_of_another_application")

    found = surroundings.problems()

    assert len(found) == 2
    assert surroundings.in_one_line(found) == ""
    for problem in found:
        _mended(problem.mend)


@mysql_only
@pytest.mark.parametrize("name", ["foreign_key_checks", "unique_checks", "check_constraint_checks"])
def test_a_protection_that_is_switched_off_is_named(name: str) -> None:
    if name == "check_constraint_checks" and not reading.is_mariadb():
        return
    sql(f"SET SESSION {name} = 0")

    [problem] = surroundings.problems()

    assert f"{name} is off" in problem.what
    assert problem.mend.startswith(f"SET GLOBAL {name} = 1")
    connection.close()


@mysql_only
def test_a_connection_whose_settings_a_proxy_drops_is_named() -> None:
    sql("SET SESSION sql_mode = 'NO_ENGINE_SUBSTITUTION', time_zone = '+09:00'")
    sql("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")

    assert [problem.what.split(" although")[0] for problem in surroundings.problems()] == [
        "sql_mode is NO_ENGINE_SUBSTITUTION",
        "time_zone is +09:00",
        "the isolation level is REPEATABLE-READ",
    ]
    connection.close()


@mysql_only
@pytest.mark.parametrize(
    ("setting", "value", "told"),
    [
        ("NAME", "test_that_is_not_there", "1049"),
        ("PASSWORD", "wrong", "1045"),
    ],
)
def test_a_connection_that_is_refused_says_what_to_mend(
    monkeypatch: pytest.MonkeyPatch, setting: str, value: str, told: str
) -> None:
    connection.close()
    with monkeypatch.context() as patch:
        patch.setitem(connections.settings["default"], setting, value)
        [problem] = surroundings.problems()
    assert f"it refuses the connection ({told}, " in problem.what or "1044" in problem.what
    assert "DATABASE_URL" in problem.mend


@mysql_only
def test_a_mode_that_cannot_be_set_is_refused_and_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    connection.close()
    options = connections.settings["default"]["OPTIONS"]
    with monkeypatch.context() as patch:
        patch.setitem(options, "init_command", "SET sql_mode='NO_SUCH_MODE'")
        [problem] = surroundings.problems()
    assert "1231" in problem.what
    assert "STRICT_TRANS_TABLES" in problem.mend


def test_a_database_that_is_away_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    connection.close()
    with monkeypatch.context() as patch:
        patch.setattr(type(connections["default"]), "get_new_connection", _away)
        with pytest.raises(OperationalError):
            surroundings.problems()
        surroundings.refuse()


def _away(*args: object) -> None:
    raise OperationalError(2003, "away, for the test")


def test_a_database_that_is_not_migrated_is_refused_with_the_command() -> None:
    sql("DELETE FROM django_migrations WHERE app = 'coupons' AND name = '0002_log_position'")
    try:
        with pytest.raises(CommandError, match=r"not migrated \(coupons.0002.*python manage.py migrate$"):
            surroundings.refuse()
        for command in ("seed", "verify", "reconcile"):
            with pytest.raises(CommandError, match="not migrated"):
                call_command(command, stdout=io.StringIO())
    finally:
        sql(
            "INSERT INTO django_migrations (app, name, applied) VALUES ('coupons', '0002_log_position', %s)",
            [timezone.now().strftime("%Y-%m-%d %H:%M:%S")],
        )


def test_a_table_that_is_gone_is_named() -> None:
    sql("ALTER TABLE coupon_log_position RENAME TO elsewhere")

    line = surroundings.in_one_line(surroundings.problems())
    assert "table coupon_log_position: the table is missing" in line
    sql("ALTER TABLE elsewhere RENAME TO coupon_log_position")


def test_a_check_that_is_gone_is_named_on_sqlite_too() -> None:
    if connection.vendor == "mysql":
        return
    [(text,)] = sql("SELECT sql FROM sqlite_master WHERE name = 'coupon_log_position'")
    sql("ALTER TABLE coupon_log_position RENAME TO elsewhere")
    sql(text.replace('CONSTRAINT "log_position_not_negative" CHECK ("next_offset" >= 0)', "CHECK (1)"))

    assert "log_position_not_negative: check constraint is missing" in str(surroundings.problems()[0])
    sql("DROP TABLE coupon_log_position")
    sql("ALTER TABLE elsewhere RENAME TO coupon_log_position")


def test_adopt_has_nothing_to_do_where_migrate_made_the_tables() -> None:
    out = io.StringIO()
    if connection.vendor == "mysql":
        call_command("adopt", stdout=out)
        assert "nothing to do" in out.getvalue()
    else:
        with pytest.raises(CommandError, match="on SQLite run `migrate`"):
            call_command("adopt", stdout=out)


def test_health_looks_again_while_something_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("coupons.operations.surroundings.watching.time.monotonic", lambda: now)
    watch = Watch()
    assert watch.line() == ""
    sql("ALTER TABLE coupon_log_position RENAME TO elsewhere")
    assert watch.line() == "", "the answer is kept for a while"

    now += 11
    assert "the table is missing" in watch.line()
    sql("ALTER TABLE elsewhere RENAME TO coupon_log_position")
    now += 3
    assert watch.line() == ""


@mysql_only
def test_migrate_makes_no_tables_in_a_character_set_that_is_no_good() -> None:
    with own_database(charset="latin1", migrated=False) as url:
        done = _manage("migrate", url=url)
        assert done.returncode == 1
        assert "new tables would have the character set latin1" in done.stderr
        [problem] = judging.before_migrating()
        sql(problem.mend)
        connection.close()
        assert judging.before_migrating() == []


def test_the_system_check_tells_all_with_their_mends(url: str) -> None:
    sql("ALTER TABLE coupon_log_position RENAME TO elsewhere")
    try:
        done = _manage("check", "--database", "default", url=url)
        assert done.returncode == 1
        assert "coupons.E001" in done.stderr
        assert "table coupon_log_position: the table is missing" in done.stderr
        [asked] = [_manage("check_database", url=url)]
        assert asked.returncode == 1
        assert len(asked.stderr.strip().splitlines()) == 1
    finally:
        sql("ALTER TABLE elsewhere RENAME TO coupon_log_position")
    assert _manage("check", "--database", "default", url=url).returncode == 0
    assert _manage("check_database", url=url).returncode == 0


def _manage(*words: str, url: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", *words],
        cwd=PROJECT,
        env={**os.environ, "DATABASE_URL": url},
        capture_output=True,
        text=True,
        timeout=60,
    )
