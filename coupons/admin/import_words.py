"""All that the import pages say, in both languages."""

from __future__ import annotations

from typing import Final

from coupons.admin.names import text
from coupons.operations.importing.checking import LineError
from coupons.operations.importing.rows import Kind, Problem

TITLES: Final = {
    Kind.USERS: text(en="Import customers from CSV", ko="CSV로 고객 등록"),
    Kind.COUPONS: text(en="Import coupons from CSV", ko="CSV로 쿠폰 등록"),
    Kind.ELIGIBLE: text(en="Import eligible customers from CSV", ko="CSV로 발급 대상 등록"),
}
COLUMNS: Final = {
    Kind.USERS: "user_id,name,balance",
    Kind.COUPONS: "coupon_id,description,discount_amount,stock,opens_at,closes_at,is_rehearsal,eligible_only",
    Kind.ELIGIBLE: "coupon_id,user_id",
}
KOREAN: Final = {
    Problem.MISSING: "첫 줄에 컬럼 이름 {known}이(가) 있어야 합니다. 없는 컬럼: {names}",
    Problem.UNKNOWN: "모르는 컬럼: {names}. 쓸 수 있는 컬럼: {known}",
    Problem.NO_CSV: "여기서부터 CSV가 아닙니다: {told}",
    Problem.UNEVEN: "값의 개수가 첫 줄의 컬럼 수와 다릅니다",
    Problem.NUL: "NUL 문자가 들어 있습니다",
    Problem.TWICE: "ID {id}이(가) 파일에 두 번 있습니다",
    Problem.NO_NUMBER: "{name}의 값 {text}은(는) {least}부터 {most}까지의 정수여야 합니다",
    Problem.NO_TIME: "{name}의 값 {text}은(는) 2030-12-01 20:00:00 같은 시각이어야 합니다",
    Problem.CLOSES_FIRST: "closes_at은 opens_at보다 늦어야 합니다",
    Problem.NO_USER: "고객 {id}이(가) 없습니다. 고객을 먼저 등록하세요",
    Problem.NO_COUPON: "쿠폰 {id}이(가) 없습니다",
    Problem.FOR_ALL: "쿠폰 {id}은(는) 대상자 전용이 아닙니다. eligible_only로 만드세요",
    Problem.OF_FIELD: "{told}",
}
WORDS: Final = {
    "columns": text(
        en="UTF-8, and the first line names the columns: {columns}. Rows that exist are left as they are. "
        "Nothing is imported before you confirm. At most {most} here; `manage.py import_csv` takes any size.",
        ko="UTF-8 형식이며 첫 줄에 컬럼 이름이 있어야 합니다: {columns}. 이미 있는 행은 그대로 둡니다. "
        "확인하기 전에는 아무것도 등록하지 않습니다. 여기서는 {most}까지이며, `manage.py import_csv`에는 "
        "제한이 없습니다.",
    ),
    "ready": text(
        en="{rows} rows are without error. Import them?", ko="{rows}행에 오류가 없습니다. 등록할까요?"
    ),
    "wrong": text(
        en="{errors} lines are wrong: nothing can be imported. Mend the file and choose it again.",
        ko="{errors}줄이 잘못되어 등록할 수 없습니다. 파일을 고쳐 다시 선택하세요.",
    ),
    "more": text(en="The first {shown} are shown.", ko="처음 {shown}줄만 표시합니다."),
    "line": text(en="Line", ko="줄"),
    "why": text(en="What is wrong", ko="오류"),
    "check": text(en="Check the file", ko="파일 검사"),
    "import": text(en="Import", ko="등록"),
    "sending": text(en="The file is being sent.", ko="파일을 보내는 중입니다."),
    "starting": text(en="The import begins.", ko="등록을 시작합니다."),
    "cancel": text(en="Cancel", ko="취소"),
    "done": text(
        en="{made} rows imported, {existing} were there.", ko="{made}행 등록, {existing}행은 이미 있음."
    ),
    "expired": text(
        en="The checked file has waited for too long: choose it again.",
        ko="검사한 파일이 너무 오래 기다렸습니다. 다시 선택하세요.",
    ),
    "again": text(
        en="This file was imported already, or is just being: look at the list before you choose it again.",
        ko="이미 등록했거나 등록 중인 파일입니다. 다시 선택하기 전에 목록을 확인하세요.",
    ),
    "file": text(en="File", ko="파일"),
    "tooLarge": text(
        en="The file has {size} bytes, {most} are read here: use `manage.py import_csv`.",
        ko="파일이 {size}바이트입니다. 여기서는 {most}바이트까지이니 `manage.py import_csv`를 사용하세요.",
    ),
    "noText": text(en="The file is no text in UTF-8.", ko="UTF-8 텍스트 파일이 아닙니다."),
}


def said(error: LineError) -> str:
    """What is wrong with the line, in the reader's language."""
    return str(text(en=error.message, ko=KOREAN[error.problem].format(**error.values)))
