"""Each command once in Korean, on the real servers; and the choice of the language with real processes."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.utils import timezone, translation
from uuid_utils.compat import uuid7

from coupons.admin.events import words
from coupons.eventlog.delivery import Record
from coupons.eventlog.producer import event_producer
from coupons.issuing.deciding import issue_coupons
from coupons.models import Coupon, CouponStatus, DeadLetter, IssueOutcome, User, UserCoupon
from coupons.operations import steering
from coupons.operations.verification import run
from coupons.outcomes import SteeringAction
from dev.processes import PROJECT
from runtime.config.language import Language
from runtime.operator_language import language
from tests.factories import make_coupon, make_requests, make_users

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("topic")]
#: Three words of small letters in a row: a sentence, and no name of a setting or command.
_SENTENCE: Final = re.compile(r"(?<![\w`./-])[a-z]{2,} [a-z]{2,} [a-z]{2,}(?![\w=./-])")


@pytest.fixture(autouse=True)
def _korean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "CONFIG", replace(settings.CONFIG, language=Language.KOREAN))
    monkeypatch.setattr(run, "SECOND_LOOK_AFTER_S", 0)


def told(*words: str, **options: Any) -> str:
    """What the command prints, whatever its exit code is."""
    out = io.StringIO()
    with suppress(SystemExit):
        call_command(*words, stdout=out, stderr=out, **options)
    assert not _SENTENCE.search(out.getvalue()), out.getvalue()
    return out.getvalue()


def refusal(*words: str) -> str:
    with pytest.raises(CommandError) as refused:
        call_command(*words, stdout=io.StringIO(), stderr=io.StringIO())
    assert not _SENTENCE.search(str(refused.value))
    return str(refused.value)


def letter() -> DeadLetter:
    return DeadLetter.objects.create(
        original_topic="events",
        original_partition=0,
        original_offset=3,
        original_key=b"coupon-1",
        original_value=b"?",
        reason="NOT_JSON",
        error="?",
    )


def test_status() -> None:
    letter()
    shown = told("status")

    assert "이상  처리 불가 이벤트 1건이 대기 중입니다: `manage.py dead_letters list`" in shown
    assert "처리 불가 이벤트: 대기 중 1건" in shown
    [head] = [line for line in shown.splitlines() if line.endswith("상태")]
    assert (
        head
        == "   파티션   리더    동기화         처음         위치           끝         랙         사본  상태"
    )


def test_json_and_codes_stay_english() -> None:
    letter()
    out = io.StringIO()
    with pytest.raises(SystemExit):
        call_command("status", "--json", stdout=out)
    found = json.loads(out.getvalue())

    assert "1 dead letters wait: `manage.py dead_letters list`" in found["wrong"]
    assert {"deadLetters", "apiWorkers", "positions"} <= found.keys()


def test_steer_says_what_the_events_page_says() -> None:
    coupon = make_coupon(stock=7)
    shown = told("steer", "pause-claims", coupon=coupon.pk, why="시험", yes=True)

    with translation.override("ko"):
        outlook = steering.outlook(coupon, SteeringAction.PAUSE_CLAIMS)
        assert words.consequence(outlook, ends_at="") in shown
    assert shown.endswith("완료했습니다\n")
    assert refusal("steer", "resume-claims", f"--coupon={coupon.pk}", "--why=시험") == (
        "실행할 작업: 접수 재개. 묻지 않고 실행하려면 --yes를 붙이세요"
    )
    assert "이벤트가 접수 일시 중단 상태일 때는 지금 열기 작업을 할 수 없습니다" in refusal(
        "steer", "open", f"--coupon={coupon.pk}", "--why=x"
    )


def test_verify() -> None:
    coupon = make_coupon(stock=7)
    user = make_users(1)[0]
    UserCoupon.objects.create(coupon=coupon, user_id=user, request_id=uuid7(), issued_at=timezone.now())
    shown = told("verify")

    assert "살펴본 것: " in shown
    assert "\n    이상 1건  COUPON_HAS_OUTCOME\n" in shown
    assert "\n        정상  STOCK_NOT_NEGATIVE\n" in shown
    assert (
        f"쿠폰 {coupon.pk}: 고객 {user}이(가) ISSUED로 처리되지 않은 요청의 쿠폰을 가지고 있습니다" in shown
    )
    assert "문제 1건" in shown


def test_preflight() -> None:
    shown = told("preflight", "--only", "settings,machine,redis,kafka.topics,database.kind")

    assert re.search(r"^초록 {3}settings\.answers: ", shown, re.MULTILINE)
    assert "조치: " in shown
    assert re.search(r"^(노랑|빨강): .*초록 \d+$", shown.splitlines()[-1])
    assert "그런 점검은 없습니다" in refusal("preflight", "--only", "nothing")


def test_dead_letters() -> None:
    waiting = letter()

    assert told("dead_letters", "list").endswith("1 NOT_JSON\n")
    assert re.search(r"^사유 {9}NOT_JSON$", told("dead_letters", "show", str(waiting.pk)), re.MULTILINE)
    assert told("dead_letters", "discard", "--all", "--dry-run") == "처리 불가 이벤트 1건을 폐기할 예정\n"
    assert told("dead_letters", "discard", "--all", "--yes") == "1건 폐기함\n"
    assert told("dead_letters", "list") == "대기 중인 처리 불가 이벤트가 없습니다\n"
    assert refusal("dead_letters", "replay").startswith("재처리할 대상을 지정하세요")


def test_reconcile() -> None:
    assert told("reconcile") == "Redis가 실제와 일치합니다. 고칠 것이 없습니다\n"


def test_winners_are_the_same_csv() -> None:
    coupon = make_coupon()

    assert told("winners", coupon=coupon.pk).startswith("rank,")
    assert refusal("winners", "--coupon=987654321") == "쿠폰 987654321이(가) 없습니다"


def test_purge_and_rehearsal() -> None:
    assert told("purge", "--older-than", "9000d", "--dry-run") == "그만큼 오래된 것이 없습니다\n"
    coupon = make_coupon(is_rehearsal=True)
    assert "닫혀 있지 않습니다" in refusal("rehearsal", f"--remove={coupon.pk}")
    Coupon.objects.filter(pk=coupon.pk).update(coupon_status=CouponStatus.CLOSED)
    assert told("rehearsal", "--remove", str(coupon.pk), "--yes").startswith("삭제함: 쿠폰, 발급된 쿠폰 0장")


def test_import_csv_says_what_the_page_says(tmp_path: Path) -> None:
    file = tmp_path / "coupons.csv"
    file.write_text("description,discount_amount,stock\n여름,many,5\n")
    errors = io.StringIO()
    with pytest.raises(CommandError, match="1줄이 잘못되어 아무것도 등록하지 않았습니다"):
        call_command("import_csv", "coupons", str(file), stdout=errors, stderr=errors)
    assert "2번째 줄: discount_amount의 값 'many'은(는) 1부터" in errors.getvalue()

    file.write_text(f"description,discount_amount,stock\n{'여' * 256},1,5\n")
    with pytest.raises(CommandError):
        call_command("import_csv", "coupons", str(file), stdout=errors, stderr=errors)
    assert "255자까지 쓸 수 있습니다" in errors.getvalue()

    file.write_text("description,discount_amount,stock\n여름,1,5\n")
    assert told("import_csv", "coupons", str(file)) == "쿠폰 1행 등록, 0행은 이미 있음\n"


def test_log_position() -> None:
    event_producer().publish([Record(key=b"coupon-1", value=b"?")])

    assert "  상태\n" in told("log_position", "show")
    assert "예정: 파티션 " in told("log_position", "back", "--dry-run")
    assert told("log_position", "accept-loss", "--dry-run") == "할 일이 없습니다\n"
    assert "파티션 99은(는) 없습니다" in refusal("log_position", "back", "--partition=99")


def test_office_key() -> None:
    assert "키는 다시 표시되지 않습니다." in told("office_key", "mail", "--scopes", "users:read")
    assert "쓸 수 있는 권한: users:read" in refusal("office_key", "mail", "--scopes=all")


def test_seed_and_topics_and_checks() -> None:
    assert "이미 있음" in told("seed", "--dry-run")
    assert refusal("seed", "--yes") == "--yes와 --force는 --reset과 함께 쓰세요"
    assert "이미 있음, 파티션 3개" in told("create_topics")
    assert "데이터베이스가 필요한 모습 그대로입니다" in told("check_database")
    assert told("check_connections").startswith("db: UP")


def test_adopt() -> None:
    if "mysql" in settings.CONFIG.database.url:
        assert told("adopt", "--dry-run").startswith("할 일이 없습니다")
    else:
        assert "SQLite에서는 `migrate`를 실행하세요" in refusal("adopt")


class Began(Exception):
    """A consumer begins, and this is the language of its log."""


def test_a_consumer_refuses_in_korean_and_logs_in_english(monkeypatch: pytest.MonkeyPatch) -> None:
    def housekeeper() -> None:
        raise Began(language())

    monkeypatch.setattr("consumer.management.commands.run_coupon_consumer.Housekeeper", housekeeper)

    assert refusal("run_coupon_consumer", "--group-id=") == "--group-id는 비워 둘 수 없습니다"
    with pytest.raises(Began, match="en"):
        call_command("run_coupon_consumer")


def test_what_is_found_beside_a_command_is_english() -> None:
    """A consumer verifies too, and writes what it finds into its log."""
    coupon = make_coupon()
    IssueOutcome.objects.create(
        request_id=uuid7(),
        coupon_id=coupon.pk,
        status="ISSUED",
        requested_at=timezone.now(),
        processed_at=timezone.now(),
    )
    report = run.verify(coupon_id=coupon.pk, from_topic=False, on_progress=lambda done, whole: None)

    assert any("do not go together" in finding.message for finding in report.findings)


def process(*words: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    names = ("COUPON_LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG", "PYTHONIOENCODING", "LANGUAGE")
    clean = {name: value for name, value in os.environ.items() if name not in names}
    return subprocess.run(
        [sys.executable, "manage.py", *words],
        cwd=PROJECT,
        env={**clean, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
    )


def test_a_korean_shell_gets_korean_through_a_pipe_too() -> None:
    done = process("winners", LANG="ko_KR.UTF-8", PYTHONIOENCODING="utf-8")

    assert done.returncode == 2
    assert "사용법: manage.py winners" in done.stderr.decode()
    assert "오류: 다음 인자가 필요합니다: --coupon" in done.stderr.decode()


def test_cron_gets_english() -> None:
    assert b"the following arguments are required: --coupon" in process("winners").stderr


def test_a_program_that_asks_for_json_is_refused_in_english() -> None:
    done = process("winners", "--json", COUPON_LANGUAGE="ko", PYTHONIOENCODING="utf-8")

    assert done.returncode == 2
    assert b"usage: manage.py winners" in done.stderr
    assert b"the following arguments are required: --coupon" in done.stderr


def test_a_file_of_winners_never_holds_another_name_than_theirs() -> None:
    """In an encoding without a letter of a name it fails, and says what mends it."""
    coupon, [user] = make_coupon(stock=1), make_users(1)
    User.objects.filter(pk=user).update(name="\U0001f600")
    issue_coupons(make_requests(coupon.pk, [user]))
    done = process("winners", f"--coupon={coupon.pk}", COUPON_LANGUAGE="ko", PYTHONIOENCODING="euc-kr")

    assert done.returncode == 1
    assert b"U0001f600" not in done.stdout
    assert "PYTHONIOENCODING=utf-8로 설정하세요" in done.stderr.decode("euc-kr")
    right = process("winners", f"--coupon={coupon.pk}", COUPON_LANGUAGE="ko", PYTHONIOENCODING="utf-8")
    assert (right.returncode, "\U0001f600" in right.stdout.decode()) == (0, True)


def test_help_is_korean() -> None:
    done = process("help", "winners", COUPON_LANGUAGE="ko", PYTHONIOENCODING="utf-8")

    shown = done.stdout.decode()
    assert "쿠폰의 당첨자를 순위대로 CSV로 출력합니다" in shown
    assert "옵션:" in shown
    assert not _SENTENCE.search(shown)


def test_a_terminal_without_hangul_gets_english_and_escapes_what_is_not() -> None:
    """A name in Korean is data: it is shown as escapes, and ends nothing."""
    coupon = make_coupon(description="신규가입", coupon_status=CouponStatus.CLOSED)
    done = process(
        "steer",
        "open",
        f"--coupon={coupon.pk}",
        "--why=x",
        "--dry-run",
        COUPON_LANGUAGE="ko",
        PYTHONIOENCODING="ascii",
    )

    assert done.stderr == b""
    assert done.returncode == 0
    assert b"\\uc2e0\\uaddc" in done.stdout
    assert b"Claims are accepted from now on" in done.stdout


def test_a_wrong_setting_is_told_by_the_preflight_in_korean() -> None:
    done = process("preflight", COUPON_LANGUAGE="ko", COUPON_API_PORT="http", PYTHONIOENCODING="utf-8")

    assert done.returncode == 1
    assert done.stdout.decode().startswith("빨강   settings.usable: COUPON_API_PORT: 정수여야 합니다. 조치: ")
    assert "조치: 바로잡으세요. 그 전에는 아무것도 시작하지 않으며" in done.stdout.decode()


def test_keys_that_cannot_be_used_are_told_in_korean_by_the_connections_check() -> None:
    done = process(
        "check_connections",
        COUPON_LANGUAGE="ko",
        COUPON_IDENTITY_SECRET="0123456789abcdef" * 2,
        COUPON_OFFICE_KEYS="crm",
        PYTHONIOENCODING="utf-8",
    )

    assert done.returncode == 1
    assert done.stderr.decode() == (
        "CommandError: COUPON_OFFICE_KEYS: 1번째 줄의 형식이 다릅니다: 이름 sha256:<16진수 64자> 권한,권한\n"
    )


def test_an_unknown_language_is_one_line() -> None:
    done = process("preflight", COUPON_LANGUAGE="fr")

    assert done.returncode == 1
    assert b"COUPON_LANGUAGE" in done.stdout
