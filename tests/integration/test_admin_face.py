"""What a browser may load for the admin, what its menu has, and what is said where a page cannot be."""

from __future__ import annotations

import re
import subprocess
import sys
from html import unescape

import pytest
from django.contrib.auth.models import Group, Permission
from django.contrib.auth.models import User as Staff
from django.test import Client

from coupons.admin import policy
from dev.processes import PROJECT

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.filterwarnings("ignore:No directory at:UserWarning"),
]
BROWSER = {"accept": "text/html,application/xhtml+xml", "accept-language": "en"}


@pytest.fixture
def staff() -> Staff:
    return Staff.objects.create(username="kim", first_name="민지", last_name="김", is_staff=True)


@pytest.fixture
def browser(client: Client, staff: Staff) -> Client:
    client.force_login(staff)
    return client


def allow(staff: Staff, *names: str) -> None:
    staff.user_permissions.set(Permission.objects.filter(codename__in=names))


@pytest.mark.parametrize("path", ["/admin/login/", "/admin/", "/admin/password_change/"])
def test_a_page_loads_our_files_alone_and_has_no_script_of_its_own(browser: Client, path: str) -> None:
    page = browser.get(path, follow=True)
    assert page.headers["Content-Security-Policy"] == policy.CSP
    text = page.content.decode()
    assert re.findall(r"<script(?![^>]* src=)(?![^>]*application/json)", text) == []
    assert re.findall(r"\son\w+=|\sstyle=|<style", text) == []
    assert re.findall(r'(?:src|href)="(?:https?:)?//', text) == []


def test_the_documentation_of_the_api_has_no_policy_of_the_admin(client: Client) -> None:
    assert "Content-Security-Policy" not in client.get("/api/docs").headers


def test_the_menu_has_what_its_reader_may_open(browser: Client, staff: Staff) -> None:
    allow(staff, "view_coupon", "view_user")
    staff.user_permissions.remove(
        Permission.objects.get(codename="view_user", content_type__app_label="auth")
    )
    page = browser.get("/admin/", headers=BROWSER).content.decode()
    for path in ("coupons/coupon/event/", "coupons/coupon/", "coupons/user/"):
        assert f'href="/admin/{path}"' in page
    for path in ("auth/user/", "coupons/deadletter/", "coupons/point/"):
        assert f'href="/admin/{path}"' not in page


@pytest.mark.parametrize(("language", "name"), [("ko", "김민지"), ("en", "민지 김")])
def test_a_name_is_in_the_order_of_the_language(browser: Client, language: str, name: str) -> None:
    assert name in browser.get("/admin/", headers={"accept-language": language}).content.decode()


@pytest.mark.parametrize(("language", "said"), [("ko", "쿠폰: 변경"), ("en", "coupons: change")])
def test_permissions_are_named_as_the_menu_names_tables(client: Client, language: str, said: str) -> None:
    client.force_login(Staff.objects.create(username="admin", is_staff=True, is_superuser=True))
    page = client.get("/admin/auth/group/add/", headers={"accept-language": language}).content.decode()
    assert said in page
    assert "Can change" not in page
    assert "session" not in page


def test_a_group_keeps_the_permissions_that_are_ticked(client: Client) -> None:
    client.force_login(Staff.objects.create(username="admin", is_staff=True, is_superuser=True))
    ticked = Permission.objects.get(codename="view_coupon")
    client.post("/admin/auth/group/add/", {"name": "support", "permissions": [ticked.pk]})
    assert list(Group.objects.get(name="support").permissions.all()) == [ticked]


@pytest.mark.parametrize(("language", "name"), [("ko", "이벤트 운영"), ("en", "Event operators")])
def test_the_usual_groups_are_made_once(client: Client, language: str, name: str) -> None:
    client.force_login(Staff.objects.create(username="admin", is_staff=True, is_superuser=True))
    for _ in range(2):
        client.post("/admin/auth/group/usual/", headers={"accept-language": language})
    assert Group.objects.count() == 3
    may = set(Group.objects.get(name=name).permissions.values_list("codename", flat=True))
    assert {"change_coupon", "change_deadletter", "view_user"} <= may
    assert not may & {"delete_user", "change_user", "add_group"}


def test_who_may_make_no_groups_makes_none(browser: Client) -> None:
    assert browser.post("/admin/auth/group/usual/").status_code == 403
    assert not Group.objects.exists()


class TestFailures:
    @pytest.mark.parametrize(("language", "said"), [("ko", "권한이 없습니다"), ("en", "Not allowed")])
    def test_not_allowed(self, browser: Client, language: str, said: str) -> None:
        page = browser.get("/admin/coupons/coupon/", headers={**BROWSER, "accept-language": language})
        assert page.status_code == 403
        assert said in page.content.decode()

    @pytest.mark.parametrize(("language", "said"), [("ko", "없는 페이지입니다"), ("en", "no such page")])
    def test_no_such_page(self, browser: Client, language: str, said: str) -> None:
        page = browser.get("/admin/nothing/", headers={**BROWSER, "accept-language": language})
        assert page.status_code == 404
        assert said in page.content.decode()

    def test_who_is_no_browser_gets_json(self, browser: Client) -> None:
        assert browser.get("/admin/nothing/").json()["code"] == "NOT_FOUND"
        assert browser.get("/api/nothing", headers=BROWSER).json()["code"] == "NOT_FOUND"

    def test_an_error_of_ours(self, browser: Client, staff: Staff, monkeypatch: pytest.MonkeyPatch) -> None:
        allow(staff, "view_coupon")
        monkeypatch.setattr("coupons.admin.events.pages.words.for_script", lambda: 1 / 0)
        browser.raise_request_exception = False
        page = browser.get("/admin/coupons/coupon/event/", headers=BROWSER)
        assert page.status_code == 500
        assert "cannot be shown now" in page.content.decode()

    def test_a_form_from_before_a_new_login(self, staff: Staff) -> None:
        client = Client(enforce_csrf_checks=True)
        page = client.post("/admin/login/", {"username": "kim", "password": "x"}, headers=BROWSER)
        assert page.status_code == 403
        assert "before you logged in again" in unescape(page.content.decode())


@pytest.mark.parametrize(
    ("command", "package"), [("run_coupon_consumer", "consumer"), ("check_connections", "coupons")]
)
def test_what_has_no_pages_loads_no_admin(command: str, package: str) -> None:
    """They are started often."""
    program = (
        f"import sys; sys.argv = ['manage.py', '{command}']\n"
        "import django; django.setup()\n"
        f"import {package}.management.commands.{command}\n"
        "print([each for each in sys.modules if each.split('.')[0] in ('unfold', 'axes', 'drf_spectacular')"
        " or each.startswith(('coupons.admin', 'django.contrib.admin'))])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr
