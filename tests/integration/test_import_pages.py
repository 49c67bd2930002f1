"""Files in the admin: checked first, with errors by line in both languages, then imported."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.contrib.auth.models import User as Staff
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from coupons.admin import imports, progress
from coupons.admin.import_words import KOREAN
from coupons.gate import work_shown
from coupons.models import Coupon, EligibleUser, User
from coupons.operations.importing.rows import Problem
from tests.factories import make_coupon, make_users

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.filterwarnings("ignore:No directory at:UserWarning"),
]
USERS, COUPONS, ELIGIBLE = (
    f"/admin/coupons/coupon/import/{kind}/" for kind in ("users", "coupons", "eligible")
)


@pytest.fixture
def browser(client: Client) -> Client:
    client.force_login(Staff.objects.create(username="admin", is_staff=True, is_superuser=True))
    client.defaults["HTTP_ACCEPT_LANGUAGE"] = "en"
    return client


def sent(browser: Client, url: str, text: str | bytes, **headers: Any) -> str:
    content = text if isinstance(text, bytes) else text.encode()
    return browser.post(
        url, {"file": SimpleUploadedFile("rows.csv", content)}, headers=headers or None
    ).content.decode()


def confirmed(browser: Client, url: str, page: str) -> str:
    [checked] = re.findall(r'name="checked" value="([^"]+)"', page)
    return browser.post(url, {"checked": checked}, follow=True).content.decode()


def test_a_file_is_checked_and_imported_once_it_is_confirmed(browser: Client) -> None:
    make_users(1)
    there = User.objects.get()
    page = sent(browser, USERS, f"user_id,name,balance\n900000001,홍길동,5\n{there.pk},x,\n")

    assert "2 rows are without error. Import them?" in page
    assert User.objects.count() == 1, "nothing is imported before it is confirmed"
    assert "1 rows imported, 1 were there." in confirmed(browser, USERS, page)
    assert User.objects.get(pk=900_000_001).name == "홍길동"
    assert LogEntry.objects.get().change_message == "CSV +1"


def test_wrong_lines_are_named_in_the_readers_language_and_nothing_can_be_confirmed(browser: Client) -> None:
    text = "user_id,name\n1,good\nx,bad\n1,again\n2\n"

    english = sent(browser, USERS, text)
    korean = sent(browser, USERS, text, accept_language="ko")

    assert "3 lines are wrong" in english
    assert re.findall(r'<td class="number">(\d+)</td>', english) == ["3", "4", "5"]
    assert "id 1 stands in the file twice" in english
    assert "ID 1이(가) 파일에 두 번 있습니다" in korean
    assert 'name="checked"' not in english + korean
    assert not User.objects.exists()
    assert set(KOREAN) == set(Problem)


def test_coupons_and_lists_go_the_same_way(browser: Client) -> None:
    page = sent(browser, COUPONS, "description,discount_amount,stock,eligible_only\nvip,1000,5,true\n")
    confirmed(browser, COUPONS, page)
    coupon, [user] = Coupon.objects.get(), make_users(1)
    assert (coupon.eligible_only, coupon.coupon_status) == (True, "CLOSED")

    page = sent(browser, ELIGIBLE, f"coupon_id,user_id\n{coupon.pk},{user}\n")
    confirmed(browser, ELIGIBLE, page)
    assert EligibleUser.objects.get().user_id == user


def test_a_second_click_makes_no_coupon_twice(browser: Client) -> None:
    page = sent(browser, COUPONS, "description,discount_amount,stock\nspring,1000,5\n")

    first, second = confirmed(browser, COUPONS, page), confirmed(browser, COUPONS, page)

    assert "1 rows imported" in first
    assert "imported already" in second
    assert Coupon.objects.count() == 1


def test_what_changed_before_it_was_confirmed_is_seen(browser: Client) -> None:
    coupon, [user] = make_coupon(eligible_only=True), make_users(1)
    page = sent(browser, ELIGIBLE, f"coupon_id,user_id\n{coupon.pk},{user}\n")
    User.objects.all().delete()

    assert f"there is no user {user}" in confirmed(browser, ELIGIBLE, page)
    assert not EligibleUser.objects.exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"user_id,name\n1,\xff\xfe\n", "no text in UTF-8"),
        (b"", "empty"),
        (b"user_id;name\n1;x\n", "missing: user_id, name"),
        (b"user_id,name\n1,\x00\n", "1 lines are wrong"),
        (b'user_id,name\n1,"' + b"x" * 140_000 + b'"\n', "1 lines are wrong"),
    ],
)
def test_what_is_no_csv_is_told(browser: Client, content: bytes, said: str) -> None:
    assert said in sent(browser, USERS, content)
    assert not User.objects.exists()


def test_a_large_file_is_left_to_the_command(browser: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imports, "MOST_BYTES", 20)
    assert "use `manage.py import_csv`" in sent(browser, USERS, "user_id,name\n1,somebody\n")


def test_a_page_that_was_changed_or_is_old_imports_nothing(
    browser: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = sent(browser, USERS, "user_id,name\n1,x\n")
    [checked] = re.findall(r'name="checked" value="([^"]+)"', page)

    def told(given: str) -> str:
        return browser.post(USERS, {"checked": given}, follow=True).content.decode()

    assert "waited for too long" in told("x" + checked)
    assert browser.post(COUPONS, {"checked": checked}).status_code == 403
    monkeypatch.setattr(imports, "WAITS_S", -1)
    assert "waited for too long" in told(checked)
    assert not User.objects.exists()


def test_only_who_may_add_them_may_import_them(client: Client) -> None:
    staff = Staff.objects.create(username="looker", is_staff=True)
    staff.user_permissions.add(Permission.objects.get(codename="view_coupon"))
    client.force_login(staff)

    assert [client.get(url).status_code for url in (USERS, COUPONS, ELIGIBLE)] == [403] * 3
    assert "import/" not in client.get("/admin/coupons/coupon/").content.decode()
    staff.user_permissions.add(Permission.objects.get(codename="change_coupon"))
    client.force_login(Staff.objects.get(pk=staff.pk))
    assert [client.get(url).status_code for url in (USERS, COUPONS, ELIGIBLE)] == [403, 403, 200]
    assert "import/eligible/" in client.get("/admin/coupons/coupon/").content.decode()
    assert client.get("/admin/coupons/coupon/import/winners/").status_code == 404


NUMBER = "0" * 31 + "1"


def told(browser: Client, number: str = NUMBER, **headers: Any) -> Any:
    return browser.get(f"/admin/coupons/coupon/progress/{number}/", headers=headers or None).json()


def test_whoever_waits_hears_how_many_rows_are_done(browser: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked by another request, and so by another process perhaps."""
    heard: list[Any] = []
    monkeypatch.setattr(progress, "TOLD_EVERY_S", 0.0)
    monkeypatch.setattr(progress, "REST_S", 0.0)
    tell = work_shown.tell

    def telling(name: str, work: work_shown.WorkDone) -> None:
        tell(name, work)
        heard.append(told(browser))

    monkeypatch.setattr(work_shown, "tell", telling)
    text = "user_id,name\n" + "".join(f"{n},a\n" for n in range(900_000_000, 900_002_500))
    assert told(browser) == {}
    page = browser.post(
        USERS, {"file": SimpleUploadedFile("rows.csv", text.encode()), "number": NUMBER}
    ).content.decode()
    assert heard[0] == {"done": 0, "whole": 2500, "told": "0 of 2,500 rows checked."}
    assert heard[3] == {"done": 300, "whole": 2500, "told": "300 of 2,500 rows checked."}
    assert heard[-1]["done"] == 2500
    assert told(browser, accept_language="ko")["told"] == "2,500행 중 2,500행을 검사했습니다."

    heard.clear()
    [checked] = re.findall(r'name="checked" value="([^"]+)"', page)
    browser.post(USERS, {"checked": checked, "number": NUMBER})
    assert [each["told"] for each in heard if "imported" in each["told"]] == [
        "0 of 2,500 rows imported.",
        "1,000 of 2,500 rows imported.",
        "2,000 of 2,500 rows imported.",
        "2,500 of 2,500 rows imported.",
    ]


def test_nobody_hears_of_anothers_import(browser: Client) -> None:
    browser.post(USERS, {"file": SimpleUploadedFile("rows.csv", b"user_id,name\n1,a\n"), "number": NUMBER})
    other = Client()
    other.force_login(Staff.objects.create(username="other", is_staff=True, is_superuser=True))

    assert told(browser)["whole"] == 1
    assert told(other) == {}
    assert told(browser, "..") == told(browser, "x" * 32) == {}


def test_without_redis_a_file_is_imported_all_the_same(
    browser: Client, redis_away: pytest.MonkeyPatch
) -> None:
    file = SimpleUploadedFile("rows.csv", b"user_id,name\n900000001,a\n")
    page = browser.post(USERS, {"file": file, "number": NUMBER}).content.decode()

    assert told(browser) == {}
    assert "1 rows imported" in confirmed(browser, USERS, page)
