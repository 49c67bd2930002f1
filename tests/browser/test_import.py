"""Customers come from a file that is chosen in a browser: wrong lines first, then the right ones."""

from __future__ import annotations

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
