"""The linter of migrations needs no server, and finds what breaks processes of the release before."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from dev.processes import PROJECT

pytestmark = pytest.mark.skipif(find_spec("MySQLdb") is None, reason="mysqlclient is not here")
_RUN = "from dev.migration_lint.__main__ import main; main('linted')"
_NEXT = """
from django.db import migrations, models
class Migration(migrations.Migration):
    dependencies = [("coupons", {last!r})]
    operations = [migrations.{operation}]
"""


def linted(folder: Path, operation: str) -> subprocess.CompletedProcess[str]:
    """Our migrations and one more, in a package of this test's."""
    ours = PROJECT / "coupons" / "migrations"
    shutil.copytree(ours, folder / "with_one_more", ignore=shutil.ignore_patterns("__pycache__"))
    last = max(file.stem for file in ours.glob("0*.py"))
    (folder / "with_one_more" / "9999_next.py").write_text(_NEXT.format(last=last, operation=operation))
    settings = "from dev.migration_lint.settings import *\nMIGRATION_MODULES = {'coupons': 'with_one_more'}\n"
    (folder / "linted.py").write_text(settings)
    return subprocess.run(
        [sys.executable, "-c", _RUN],
        cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": f"{folder}:{PROJECT}"},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize(
    "operation",
    [
        'AddField("coupon", "note", models.CharField(max_length=9, null=True))',
        'AddField("coupon", "note", models.BigIntegerField(db_default=0))',
        'CreateModel("Note", [("id", models.BigAutoField(primary_key=True))])',
    ],
)
def test_what_only_adds_passes(tmp_path: Path, operation: str) -> None:
    done = linted(tmp_path, operation)

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("operation", "finding"),
    [
        ('AddField("coupon", "note", models.BigIntegerField(default=0))', "NOT NULL"),
        ('RenameField("coupon", "description", "title")', "RENAMING columns"),
        ('RemoveField("coupon", "description")', "DROPPING columns"),
        ('DeleteModel("DisclosedRequest")', "DROPPING table"),
        ('AlterField("coupon", "description", models.CharField(max_length=9))', "NOT NULL"),
    ],
)
def test_what_breaks_the_release_before_is_found(tmp_path: Path, operation: str, finding: str) -> None:
    done = linted(tmp_path, operation)

    assert done.returncode == 1, done.stderr
    assert finding in done.stdout
