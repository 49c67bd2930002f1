"""What the backup script says, in Korean too: it stands by itself, without the application's catalogues."""

from __future__ import annotations

import ast
import os
import re
import runpy
import subprocess
import sys
from typing import Final

import pytest

from dev.processes import PROJECT

SCRIPT: Final = PROJECT / "deploy/backup/backup.py"
MODULE: Final = runpy.run_path(str(SCRIPT))
KOREAN: Final[dict[str, str]] = MODULE["KOREAN"]


def said() -> set[str]:
    calls = (node for node in ast.walk(ast.parse(SCRIPT.read_text())) if isinstance(node, ast.Call))
    texts = [call.args[0] for call in calls if isinstance(call.func, ast.Name) and call.func.id == "say"]
    return {str(text.value) for text in texts if isinstance(text, ast.Constant)}


def test_each_text_has_its_korean_with_the_same_places() -> None:
    assert said() | {MODULE["__doc__"]} == KOREAN.keys()
    for english, korean in KOREAN.items():
        assert re.search("[가-힣]", korean), english
        assert sorted(re.findall(r"{.*?}", korean)) == sorted(re.findall(r"{.*?}", english))


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({}, "error: DATABASE_URL must be"),
        ({"LANG": "ko_KR.UTF-8"}, "오류: DATABASE_URL은"),
        ({"LANG": "ko_KR.UTF-8", "COUPON_LANGUAGE": "en"}, "error: DATABASE_URL must be"),
        ({"COUPON_LANGUAGE": "ko", "PYTHONIOENCODING": "ascii"}, "error: DATABASE_URL must be"),
    ],
)
def test_it_speaks_the_operators_language(environment: dict[str, str], told: str) -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "dump", "nowhere"],
        env={"PATH": os.defpath, "PYTHONUTF8": "1", "DATABASE_URL": "postgres://x/y", **environment},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(told)


def test_it_works_without_a_standard_output() -> None:
    """Cron and some supervisors close it."""
    done = subprocess.run(
        ["sh", "-c", f'"{sys.executable}" "{SCRIPT}" restore nothing >&-'],
        env={"PATH": os.defpath, "DATABASE_URL": "postgres://x/y"},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 1
    assert "DATABASE_URL must be" in done.stderr
