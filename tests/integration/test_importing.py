"""Users and coupons from CSV: all of a file or nothing, with each wrong line named."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from coupons.models import Coupon, Point, User

pytestmark = pytest.mark.django_db(transaction=True)


def imported(kind: str, text: str, folder: Path, *words: str) -> tuple[str, str]:
    """What the command printed, on both outputs."""
    file = folder / "rows.csv"
    file.write_text(text, encoding="utf-8")
    out, errors = io.StringIO(), io.StringIO()
    try:
        call_command("import_csv", kind, str(file), *words, stdout=out, stderr=errors)
    except CommandError as error:
        errors.write(str(error))
    return out.getvalue(), errors.getvalue()


def test_users_come_with_their_points_and_those_who_are_there_stay(tmp_path: Path) -> None:
    User.objects.create(user_id=2, name="before")
    text = '\N{BYTE ORDER MARK}user_id,name,balance\n1,홍길동,500\n2,after,\n3,"a, b",\n'

    told, _ = imported("users", text, tmp_path)

    assert told.strip() == "2 users imported, 1 were there"
    assert dict(User.objects.values_list("pk", "name")) == {1: "홍길동", 2: "before", 3: "a, b"}
    assert list(Point.objects.values_list("user_id", "balance")) == [(1, 500)]
    assert imported("users", text, tmp_path)[0].strip() == "0 users imported, 3 were there"


def test_coupons_are_closed_unless_they_have_a_start(tmp_path: Path) -> None:
    text = (
        "description,discount_amount,stock,opens_at,closes_at,is_rehearsal\n"
        "autumn,5000,10,,,\n"
        "winter,5000,10,2030-12-01 20:00:00,2030-12-01T13:00:00+00:00,true\n"
    )
    imported("coupons", text, tmp_path)

    autumn, winter = Coupon.objects.order_by("pk")
    assert (autumn.coupon_status, winter.coupon_status) == ("CLOSED", "OPENED")
    assert winter.is_rehearsal
    assert not autumn.is_rehearsal
    assert winter.opens_at is not None
    assert timezone.localtime(winter.opens_at).hour == 20


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("x,name", "user_id is 'x'"),
        ("0,name", "user_id is '0'"),
        ("9223372036854775808,name", "user_id is"),
        ("99999999999999999999999999,name", "user_id is"),
        ("7,", "cannot be blank"),
        ("7", "more or fewer values"),
        ("7,a,b,c", "more or fewer values"),
        ("1,again", "id 1 stands in the file twice"),
        (f"7,{'x' * 256}", "at most 255 characters"),
    ],
)
def test_a_wrong_line_is_named_and_nothing_is_imported(line: str, told: str, tmp_path: Path) -> None:
    _, errors = imported("users", f"user_id,name\n1,good\n{line}\n", tmp_path)
    assert errors.startswith("line 3: ")
    assert told in errors
    assert not User.objects.exists()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "missing: user_id, name"),
        ("user_id;name\n1;x\n", "missing: user_id, name"),
        ("user_id,name,age\n1,x,3\n", "unknown columns: age"),
    ],
)
def test_a_wrong_head_is_named(text: str, told: str, tmp_path: Path) -> None:
    assert told in imported("users", text, tmp_path)[1]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("a,0,10,,", "discount_amount is '0'"),
        ("a,5,-1,,", "stock is '-1'"),
        ("a,5,1,tomorrow,", "opens_at is 'tomorrow'"),
        ("a,5,1,2030-13-01 00:00,", "opens_at is"),
        ("a,5,1,2030-12-02 00:00,2030-12-01 00:00", "closes_at must be after opens_at"),
    ],
)
def test_a_coupon_that_no_column_takes_is_named(line: str, told: str, tmp_path: Path) -> None:
    head = "description,discount_amount,stock,opens_at,closes_at\n"
    assert told in imported("coupons", head + line + "\n", tmp_path)[1]


def test_a_dry_run_writes_nothing_and_says_what_is_wrong(tmp_path: Path) -> None:
    assert "1 users are without error" in imported("users", "user_id,name\n1,x\n", tmp_path, "--dry-run")[0]
    told, _ = imported("users", "user_id,name\nx,y\nz,w\n", tmp_path, "--dry-run", "--json")
    assert json.loads(told)["errorCount"] == 2
    assert not User.objects.exists()


def test_a_file_in_another_encoding_is_told(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_bytes("user_id,name\n1,홍길동\n".encode("cp949"))
    with pytest.raises(CommandError, match="UTF-8"):
        call_command("import_csv", "users", str(file), stdout=io.StringIO())
