"""Whose language a command speaks, and where it is English all the same."""

from __future__ import annotations

import argparse
import gettext
import io
import os
import sys
import threading

import pytest
from environs import Env

from runtime import columns
from runtime.arguments import whole_number
from runtime.config import language
from runtime.config.language import Language
from runtime.operator_language import language as language_now
from runtime.operator_language import say, shown, spoken, spoken_by_argparse
from runtime.wording import Wording

TEXT = "there is no coupon {coupon_id}"
KOREAN = "쿠폰 7이(가) 없습니다"


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, "en"),
        ({"LANG": "C"}, "en"),
        ({"LANG": "POSIX"}, "en"),
        ({"LANG": "en_US.UTF-8"}, "en"),
        ({"LANG": "ko_KR.UTF-8"}, "ko"),
        ({"LANG": "ko_KR.eucKR"}, "ko"),
        ({"LANG": "ko"}, "ko"),
        ({"LANG": "kok_IN.UTF-8"}, "en"),
        ({"LC_ALL": "C", "LANG": "ko_KR.UTF-8"}, "en"),
        ({"LC_ALL": "", "LANG": "ko_KR.UTF-8"}, "ko"),
        ({"LC_MESSAGES": "ko_KR.UTF-8", "LANG": "en_US.UTF-8"}, "ko"),
        ({"LC_ALL": "en_US.UTF-8", "LC_MESSAGES": "ko_KR.UTF-8"}, "en"),
        ({"COUPON_LANGUAGE": "ko", "LC_ALL": "C"}, "ko"),
        ({"COUPON_LANGUAGE": "en", "LANG": "ko_KR.UTF-8"}, "en"),
        ({"COUPON_LANGUAGE": "", "LANG": "ko_KR.UTF-8"}, "ko"),
    ],
)
def test_the_setting_decides_and_then_the_shell(
    environment: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("COUPON_LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    assert language.load(Env()) == expected


def test_what_is_no_command_says_english() -> None:
    assert language_now() is Language.ENGLISH
    assert say(TEXT, coupon_id=7) == "there is no coupon 7"


def test_a_command_speaks_in_its_threads_too_and_ends_speaking() -> None:
    told: list[str] = []
    with spoken(Language.KOREAN):
        thread = threading.Thread(target=lambda: told.append(say(TEXT, coupon_id=7)))
        thread.start()
        thread.join(10)

    assert told == [KOREAN]
    assert say(TEXT, coupon_id=7) == "there is no coupon 7"


def test_a_text_without_an_entry_and_an_empty_one_stay_as_they_are() -> None:
    with spoken(Language.KOREAN):
        assert say("varchar(255)") == "varchar(255)"
        assert say("") == ""
        assert say("{braces} that nobody fills") == "{braces} that nobody fills"


def test_a_wording_is_english_until_it_is_said_and_so_are_those_in_it() -> None:
    class Refused(Wording, ValueError):
        pass

    inner = Refused(TEXT, coupon_id=7)
    wording = Wording("partition {partition}: {text}", partition=3, text=inner)
    with spoken(Language.KOREAN):
        assert str(wording) == "partition 3: there is no coupon 7"
        assert f"{inner}" == "there is no coupon 7"
        assert say(wording) == f"파티션 3: {KOREAN}"
    assert say(wording) == "partition 3: there is no coupon 7"


def test_a_value_of_a_wording_is_no_place() -> None:
    """It may be anything that somebody has set."""
    assert str(Wording("{path} is there", path="/{braces}")) == "/{braces} is there"
    assert say(Wording("no {braces} are filled without values")) == "no {braces} are filled without values"


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [("utf-8", "ko"), ("euc-kr", "ko"), ("ascii", "en"), ("latin-1", "en")],
)
def test_a_terminal_without_hangul_gets_english(
    encoding: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding=encoding))

    assert shown(Language.KOREAN) == expected
    assert shown(Language.ENGLISH) == "en"


def test_without_a_standard_output_the_setting_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python has none where descriptor 1 was closed before its start."""
    monkeypatch.setattr(sys, "stdout", None)

    assert shown(Language.KOREAN) == "ko"


def test_argparse_speaks_too_and_leaves_no_trace(capsys: pytest.CaptureFixture[str]) -> None:
    before = gettext.textdomain(), os.environ.get("LANGUAGE")
    with spoken(Language.KOREAN), spoken_by_argparse(Language.KOREAN):
        parser = argparse.ArgumentParser(prog="manage.py")
        parser.add_argument("--coupon", required=True, type=whole_number(1, 9))
        with pytest.raises(SystemExit):
            parser.parse_args([])
        with pytest.raises(SystemExit):
            parser.parse_args(["--coupon", "x"])

    told = capsys.readouterr().err
    assert "사용법: manage.py" in told
    assert "오류: 다음 인자가 필요합니다: --coupon" in told
    assert "오류: --coupon: 'x': 1부터 9까지의 정수여야 합니다" in told
    assert (gettext.textdomain(), os.environ.get("LANGUAGE")) == before


def test_hangul_is_two_columns_wide() -> None:
    assert columns.width("랙 3") == 4
    assert columns.right("파티션", 9) == "   파티션"
    assert columns.left("초록", 6) + "|" == "초록  |"
    assert columns.right("wider than that", 3) == "wider than that"
    assert columns.row((6, 4), "상태", 7) == "  상태    7"


def test_lines_end_where_the_terminal_does() -> None:
    lines = columns.wrapped("가나다 라마 바사아자차카타파하 a", 10)

    assert lines == ["가나다", "라마", "바사아자차카타파하", "a"]
    assert columns.wrapped("aa bb cc", 5) == ["aa bb", "cc"]
    assert columns.wrapped("", 5) == [""]
