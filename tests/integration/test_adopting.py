"""The tables of the application that this one replaces are taken over, and not a row is lost."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection
from pytest_django.plugin import DjangoDbBlocker

from coupons.issuing.deciding import issue_coupons
from coupons.models import Coupon, UserCoupon
from coupons.operations import surroundings
from coupons.operations.adopting import steps
from coupons.operations.adopting.findings import Step
from coupons.operations.surroundings import reading
from coupons.operations.verification import run as verification
from coupons.outcomes import Decision
from tests import kotlin_tables
from tests.factories import make_requests
from tests.own_database import own_database, sql

pytestmark = pytest.mark.services_only


@pytest.fixture(autouse=True)
def _empty(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    with django_db_blocker.unblock(), own_database(migrated=False):
        yield
        connection.close()


def _adopt(*words: str) -> str:
    out = io.StringIO()
    call_command("adopt", *words, stdout=out, stderr=io.StringIO())
    return out.getvalue()


def _told(*words: str, refused: bool = False) -> dict[str, Any]:
    """The JSON. ``refused``: something is in the way."""
    out = io.StringIO()
    with pytest.raises(SystemExit, match="1") if refused else nullcontext():
        call_command("adopt", "--json", *words, stdout=out, stderr=io.StringIO())
    told: dict[str, Any] = json.loads(out.getvalue())
    return told


def _rows(table: str) -> list[tuple[Any, ...]]:
    return sql(f"SELECT * FROM `{table}` ORDER BY 1")


def _schema() -> list[str]:
    tables = [name for (name,) in sql("SHOW TABLES")]
    return [sql(f"SHOW CREATE TABLE `{name}`")[0][1] for name in tables]


def _is_ours() -> None:
    """Everything that a database of our own making passes."""
    assert surroundings.problems() == []
    out = io.StringIO()
    call_command("migrate", stdout=out)
    assert "No migrations to apply" in out.getvalue()
    call_command("makemigrations", "--check", "--dry-run", stdout=io.StringIO())
    report = verification.verify(coupon_id=None, from_topic=False, on_progress=lambda done, whole: None)
    assert report.findings == []


@pytest.mark.parametrize("tables", [kotlin_tables.USUAL, kotlin_tables.ODD, kotlin_tables.OLD])
def test_they_are_taken_over_with_every_row_and_the_application_issues_on_them(
    tables: tuple[str, ...],
) -> None:
    kotlin_tables.make(tables)
    before = sql("SELECT user_coupon_id, coupon_id, user_id, status FROM user_coupon ORDER BY 1")

    _adopt("--yes")

    _is_ours()
    assert sql("SELECT user_coupon_id, coupon_id, user_id, status FROM user_coupon ORDER BY 1") == before
    assert sql("SELECT user_id, name FROM user WHERE user_id = 7") == [(7, "user7")]
    assert sql("SELECT SUM(balance), COUNT(*) FROM point") == [(2_000_000, 20)]
    assert list(Coupon.objects.values_list("pk", "stock", "issued_count", "adopted_count")) == [
        (1, 100, 5, 5),
        (2, 100, 5, 5),
    ]
    assert not Coupon.objects.filter(reset_at__isnull=True).exists(), "their events have no outcomes"
    issued = issue_coupons(make_requests(1, [2, 12, 14]))
    assert [each.decision for each in issued.allocations] == [
        Decision.ALREADY_REQUESTED,
        Decision.ISSUED,
        Decision.ISSUED,
    ]
    assert [each.rank for each in issued.allocations if each.rank] == [6, 7]
    _is_ours()
    assert "nothing to do" in _adopt("--yes")


@pytest.mark.parametrize("tables", [kotlin_tables.USUAL, kotlin_tables.ODD])
def test_a_dry_run_says_all_of_it_and_changes_nothing(tables: tuple[str, ...]) -> None:
    kotlin_tables.make(tables)
    schema, rows = _schema(), _rows("user_coupon")

    text = _adopt("--dry-run")

    assert "found table user_coupon, 10 rows" in text
    assert "ADD CONSTRAINT `user_coupon_once_per_user` UNIQUE" in text
    assert "nothing was changed" in text
    assert (_schema(), _rows("user_coupon")) == (schema, rows)
    assert _told("--dry-run")["done"] is False


def test_nothing_is_altered_unasked() -> None:
    kotlin_tables.make(kotlin_tables.USUAL)
    schema = _schema()

    with pytest.raises(CommandError, match="add --yes"):
        _adopt()

    assert _schema() == schema


def test_migrate_and_everything_else_refuse_such_tables_and_name_adopt() -> None:
    kotlin_tables.make(kotlin_tables.USUAL)

    with pytest.raises(CommandError, match=r"another application's.*python manage.py adopt --dry-run"):
        surroundings.refuse()
    with pytest.raises(CommandError, match="another application's"):
        call_command("seed", stdout=io.StringIO())


def test_a_migrate_that_failed_halfway_on_such_tables_is_no_obstacle() -> None:
    kotlin_tables.make(kotlin_tables.USUAL)
    with pytest.raises(DatabaseError, match="1050"):
        call_command("migrate", verbosity=0)  # without its checks, as before there were any
    assert sql("SELECT COUNT(*) FROM django_migrations WHERE app = 'coupons'") == [(0,)]
    assert sql("SELECT COUNT(*) FROM django_migrations") > [(0,)]

    _adopt("--yes")

    _is_ours()


def _with_duplicates() -> None:
    """User 1 has coupon 2 three times, user 2 coupon 1 twice; user 3's points are there twice."""
    kotlin_tables.make(kotlin_tables.USUAL)
    for coupon_id, user_id in ((2, 1), (2, 1), (1, 2)):
        sql(
            "INSERT INTO user_coupon (coupon_id, user_id, status, issued_at, created_at, updated_at) "
            f"VALUES ({coupon_id}, {user_id}, 'ISSUED', NOW(), NOW(), NOW())"
        )
    sql("INSERT INTO point (user_id, balance, created_at, updated_at) VALUES (3, 7, NOW(), NOW())")


def test_duplicates_are_listed_and_not_taken_over_silently() -> None:
    _with_duplicates()
    schema, rows = _schema(), _rows("user_coupon")

    told = _told("--yes", refused=True)

    assert [(each["count"], each["option"]) for each in told["obstacles"]] == [
        (3, "--move-duplicates"),
        (1, "--move-duplicates"),
    ]
    assert "coupon_id 2, user_id 1" in told["obstacles"][0]["examples"][0]
    assert (_schema(), _rows("user_coupon")) == (schema, rows)


def test_duplicates_are_moved_whole_when_it_is_asked_for() -> None:
    _with_duplicates()
    before = {row[0]: row for row in _rows("user_coupon")}

    text = _adopt("--yes", "--move-duplicates")

    assert "3 rows of user_coupon MOVED to user_coupon_set_aside" in text
    _is_ours()
    kept = {pk for (pk,) in sql("SELECT user_coupon_id FROM user_coupon")}
    aside = sql(
        "SELECT user_coupon_id, coupon_id, user_id, status, issued_at, used_at, created_at, updated_at "
        "FROM user_coupon_set_aside ORDER BY 1"
    )
    assert kept == set(range(1, 11)), "the earliest of each stays"
    assert aside == [row for pk, row in before.items() if pk > 10]
    assert len(aside) == 3
    assert sql("SELECT user_id, balance, set_aside_why FROM point_set_aside") == [(3, 7, "duplicate")]


def test_rows_without_their_user_or_coupon_are_listed_and_moved_when_it_is_asked_for() -> None:
    kotlin_tables.make(kotlin_tables.USUAL)
    sql("DELETE FROM user WHERE user_id = 3")
    sql("DELETE FROM coupon WHERE coupon_id = 2")

    told = _told("--yes", refused=True)
    assert {each["option"] for each in told["obstacles"]} == {"--move-orphans"}
    assert sorted(each["count"] for each in told["obstacles"]) == [1, 1, 5]

    _adopt("--yes", "--move-orphans")

    _is_ours()
    moved = dict(sql("SELECT user_id, set_aside_why FROM user_coupon_set_aside"))
    assert moved == {3: "no user", **dict.fromkeys((1, 5, 7, 9), "no coupon")}
    assert sql("SELECT user_id FROM point_set_aside") == [(3,)]


@pytest.mark.parametrize(
    ("statement", "told", "mend"),
    [
        ("UPDATE coupon SET stock = -3 WHERE coupon_id = 1", "stock < 0", None),
        ("UPDATE point SET balance = -1 WHERE user_id = 1", "balance < 0", None),
        (
            "UPDATE coupon SET discount_amount = 0 WHERE coupon_id = 2",
            "discount_amount <= 0",
            "UPDATE coupon SET discount_amount = 1 WHERE coupon_id = 2",
        ),
        (
            "ALTER TABLE user_coupon ADD COLUMN channel VARCHAR(10) NOT NULL",
            "user_coupon, channel: an unknown column that every INSERT must name",
            "ALTER TABLE user_coupon ALTER COLUMN channel SET DEFAULT 'web'",
        ),
        (
            "ALTER TABLE point MODIFY balance BIGINT NULL; UPDATE point SET balance = NULL WHERE user_id = 1",
            "point, balance: no value",
            "UPDATE point SET balance = 0 WHERE user_id = 1",
        ),
        (
            "ALTER TABLE coupon MODIFY discount_amount DECIMAL(10,2) NOT NULL; "
            "UPDATE coupon SET discount_amount = 10.5 WHERE coupon_id = 1",
            "discount_amount: a fraction",
            "UPDATE coupon SET discount_amount = 10 WHERE coupon_id = 1",
        ),
        (
            "ALTER TABLE coupon DROP COLUMN coupon_status; "
            "ALTER TABLE coupon ADD COLUMN coupon_status TINYINT NOT NULL",
            "coupon_status: tinyint",
            "ALTER TABLE coupon MODIFY coupon_status VARCHAR(255) NOT NULL; "
            "UPDATE coupon SET coupon_status = 'OPENED'",
        ),
        (
            "CREATE TABLE orders (user_id BIGINT UNSIGNED); ALTER TABLE user DROP COLUMN name",
            "user, name: the column is missing, and nothing tells what to put there",
            "ALTER TABLE user ADD COLUMN name VARCHAR(255) NOT NULL DEFAULT 'x'",
        ),
    ],
)
def test_what_only_a_person_can_mend_is_named(statement: str, told: str, mend: str | None) -> None:
    kotlin_tables.make(kotlin_tables.USUAL)
    for each in statement.split("; "):
        sql(each)
    schema = _schema()

    found = _told("--yes", refused=True)

    [obstacle] = found["obstacles"]
    assert told in obstacle["what"]
    assert _schema() == schema
    for each in (mend or obstacle["mend"]).split("; "):
        sql(each)
    _adopt("--yes")
    _is_ours()


def test_gaps_are_filled_with_what_the_row_itself_says_and_zero_dates_are_no_moments() -> None:
    kotlin_tables.make(kotlin_tables.ODD)
    sql("UPDATE user_coupon SET issued_at = NULL, updated_at = '2024-05-06 07:08:09' WHERE user_id = 1")
    sql("UPDATE user_coupon SET created_at = 0, used_at = 0, status = NULL WHERE user_id = 2")
    sql("UPDATE user SET name = NULL WHERE user_id = 3")
    sql("UPDATE coupon SET coupon_status = NULL WHERE coupon_id = 2")
    sql("UPDATE user_coupon SET created_at = NULL WHERE user_id = 1")

    _adopt("--yes")

    _is_ours()
    first, second = UserCoupon.objects.get(user_id=1), UserCoupon.objects.get(user_id=2)
    assert f"{first.issued_at:%Y-%m-%d %H:%M:%S}" == "2024-05-06 07:08:09"
    assert first.created_at == first.issued_at
    assert second.used_at is None
    assert second.created_at == second.issued_at
    assert second.status == "ISSUED"
    assert sql("SELECT name FROM user WHERE user_id = 3") == [("",)]
    assert Coupon.objects.get(pk=2).coupon_status == "CLOSED"


def test_a_foreign_table_that_holds_a_narrow_id_is_named() -> None:
    kotlin_tables.make(kotlin_tables.ODD)
    sql(
        "CREATE TABLE orders (order_id BIGINT PRIMARY KEY, user_id INT NOT NULL, "
        "CONSTRAINT FKorders FOREIGN KEY (user_id) REFERENCES user (user_id))"
    )

    [obstacle] = _told("--yes", refused=True)["obstacles"]

    assert "table orders: its foreign key FKorders" in obstacle["what"]
    sql("ALTER TABLE orders DROP FOREIGN KEY FKorders")
    _adopt("--yes")
    _is_ours()


@pytest.mark.parametrize("tables", [kotlin_tables.USUAL, kotlin_tables.ODD, kotlin_tables.OLD])
def test_it_is_interrupted_after_every_step_and_run_again(
    tables: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    kotlin_tables.make(tables)
    if tables is kotlin_tables.USUAL:
        sql(
            "INSERT INTO user_coupon SELECT 99, coupon_id, user_id, status, issued_at, used_at, created_at, "
            "updated_at FROM user_coupon WHERE user_id = 1"
        )
    carry_out, runs = steps.carry_out, 0

    class Interrupted(Exception):
        pass

    def one_step(step: Step) -> None:
        carry_out(step)
        raise Interrupted

    monkeypatch.setattr(steps, "carry_out", one_step)
    while True:
        left = _told("--dry-run", "--move-duplicates")["steps"]
        if len(left) == 1:
            break
        with pytest.raises(Interrupted):
            _adopt("--yes", "--move-duplicates")
        runs += 1
        assert runs < 100, left
    monkeypatch.setattr(steps, "carry_out", carry_out)

    def no_migrate() -> None:
        raise Interrupted

    with monkeypatch.context() as patch:
        patch.setattr(steps, "migrate_the_rest", no_migrate)
        with pytest.raises(Interrupted):
            _adopt("--yes", "--move-duplicates")
    _adopt("--yes", "--move-duplicates")

    _is_ours()
    assert UserCoupon.objects.count() == 10
    assert list(Coupon.objects.values_list("issued_count", flat=True)) == [5, 5]
    if tables is kotlin_tables.USUAL:
        assert sql("SELECT user_coupon_id FROM user_coupon_set_aside") == [(99,)]


def test_an_error_of_the_database_is_told_and_the_next_run_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    kotlin_tables.make(kotlin_tables.USUAL)

    def refused(step: Step) -> None:
        raise DatabaseError("out of disk")

    with monkeypatch.context() as patch:
        patch.setattr(steps, "carry_out", refused)
        with pytest.raises(CommandError, match=r"out of disk\. Nothing is lost"):
            _adopt("--yes")
    _adopt("--yes")
    _is_ours()


def test_a_hundred_thousand_rows_with_duplicates() -> None:
    kotlin_tables.make(kotlin_tables.USUAL, users=100_000, coupons=50, winners=100_000)
    sql(
        "INSERT INTO user_coupon (coupon_id, user_id, status, issued_at, created_at, updated_at) "
        "SELECT coupon_id, user_id, status, issued_at, created_at, updated_at "
        "FROM user_coupon WHERE user_id % 10 = 0"
    )

    told = _told("--dry-run", refused=True)
    assert [each["count"] for each in told["obstacles"]] == [10_000]
    assert len(told["obstacles"][0]["examples"]) == 10
    _adopt("--yes", "--move-duplicates")

    _is_ours()
    assert UserCoupon.objects.count() == 100_000
    assert sql("SELECT COUNT(*) FROM user_coupon_set_aside") == [(10_000,)]
    assert sql("SELECT SUM(issued_count), MIN(adopted_count), MAX(adopted_count) FROM coupon") == [
        (100_000, 2000, 2000)
    ]


def test_verify_names_a_count_that_is_not_theirs_and_ours_together() -> None:
    kotlin_tables.make(kotlin_tables.USUAL)
    _adopt("--yes")
    issue_coupons(make_requests(1, [12, 14]))
    Coupon.objects.filter(pk=1).update(adopted_count=4)

    report = verification.verify(coupon_id=1, from_topic=False, on_progress=lambda done, whole: None)

    assert {finding.check for finding in report.findings} == {"ISSUED_COUNT", "RANKS_WITHOUT_GAPS"}


def test_an_empty_database_has_nothing_to_take_over() -> None:
    assert "nothing to take over" in _adopt("--yes")
    assert sql("SHOW TABLES") == []


def test_a_table_that_is_missing_among_theirs_is_made() -> None:
    kotlin_tables.make(kotlin_tables.USUAL)
    sql("DROP TABLE point")

    _adopt("--yes")

    _is_ours()
    assert reading.tables(["point"])
