"""Customers come from a file that is chosen in a browser: wrong lines first, then the right ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from django.contrib.auth.models import User as Staff

from coupons.models import User
from tests.browser.conftest import Visitor
from tests.system import System

pytestmark = pytest.mark.django_db(transaction=True)
PASSWORD = "a-long-enough-one"


def test_a_file_is_checked_mended_and_imported(visitor: Visitor, system: System, tmp_path: Path) -> None:
    Staff.objects.create_superuser("kim", "", PASSWORD)
    visitor.log_in("kim", PASSWORD)
    visitor.go("/admin/coupons/user/")
    visitor.page.click("a[href$='/import/users/']")
    wrong, right = tmp_path / "wrong.csv", tmp_path / "right.csv"
    wrong.write_text("user_id,name\n1,a\n1,b\n3\n")
    right.write_text("user_id,name\n1,a\n2,b\n")

    visitor.page.set_input_files("[name=file]", str(wrong))
    visitor.page.click(".submit-row [type=submit]")
    visitor.page.wait_for_selector("#errors")
    assert visitor.page.locator("#errors tbody tr").count() == 2
    visitor.picture("import-wrong")
    visitor.page.set_input_files("[name=file]", str(right))
    visitor.page.click(".submit-row [type=submit]")
    visitor.page.wait_for_selector("[name=checked]", state="attached")
    visitor.picture("import-right")
    assert not User.objects.exists()
    visitor.page.click(".submit-row [type=submit]")
    visitor.page.wait_for_url("**/admin/coupons/user/")
    assert User.objects.count() == 2


#: Keeps what the bar has shown for the page that comes after it.
_LISTEN = """() => new MutationObserver(() => {
    const bar = document.getElementById("progress-bar"), said = document.getElementById("progress-told");
    const before = JSON.parse(sessionStorage.getItem("shown") || "[]");
    sessionStorage.setItem("shown", JSON.stringify([...before, [bar.value, bar.max, said.textContent]]));
}).observe(document.getElementById("progress"), { attributes: true, subtree: true, childList: true })"""


def test_a_bar_shows_how_many_rows_are_done(visitor: Visitor, system: System, tmp_path: Path) -> None:
    """In a page that is about to be replaced, while one of the worker's threads is at work for it."""
    Staff.objects.create_superuser("kim", "", PASSWORD)
    visitor.log_in("kim", PASSWORD)
    visitor.go("/admin/coupons/coupon/import/users/")
    rows = 20_000
    large = tmp_path / "large.csv"
    large.write_text("user_id,name\n" + "".join(f"{n},홍길동\n" for n in range(1, rows + 1)))
    visitor.page.set_input_files("[name=file]", str(large))

    for stage in ("check", "import"):
        visitor.page.evaluate("() => sessionStorage.removeItem('shown')")
        visitor.page.evaluate(_LISTEN)
        visitor.page.click(".submit-row [type=submit]", no_wait_after=True)
        if stage == "check":
            visitor.page.wait_for_selector("[name=checked]", state="attached", timeout=120_000)
        else:
            visitor.page.wait_for_url("**/admin/coupons/user/", timeout=120_000)
        shown = json.loads(visitor.page.evaluate("() => sessionStorage.getItem('shown') || '[]'"))
        values = [value for value, most, _ in shown if most == rows]
        assert any(0 < value < rows for value in values), shown
        assert any("20,000" in said for _, _, said in shown), shown
    assert User.objects.count() == rows


#: Asks the page's own script whether it would send the form, without sending it.
_WOULD_SEND = (
    """() => document.getElementById("import").dispatchEvent(new Event("submit", {cancelable: true}))"""
)


def test_a_second_click_is_nothing_and_a_later_one_sends_again(visitor: Visitor, system: System) -> None:
    """Somebody who stopped the sending (Esc) has the same page before them, and tries once more."""
    Staff.objects.create_superuser("kim", "", PASSWORD)
    visitor.log_in("kim", PASSWORD)
    visitor.page.clock.install()
    visitor.go("/admin/coupons/coupon/import/users/")

    assert visitor.page.evaluate(_WOULD_SEND)
    assert not visitor.page.evaluate(_WOULD_SEND)
    visitor.page.clock.fast_forward(10_000)
    assert visitor.page.evaluate(_WOULD_SEND)
