"""What a person at the admin is told where a page cannot be shown."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from coupons.admin.names import text

TITLES: Final = {
    HTTPStatus.FORBIDDEN: text(en="Not allowed", ko="권한이 없습니다"),
    HTTPStatus.NOT_FOUND: text(en="There is no such page", ko="없는 페이지입니다"),
    HTTPStatus.INTERNAL_SERVER_ERROR: text(
        en="This page cannot be shown now", ko="지금은 이 페이지를 보여 줄 수 없습니다"
    ),
}
TOLD: Final = {
    HTTPStatus.FORBIDDEN: text(
        en="Your account may not see this page or do this. Nothing was changed.",
        ko="이 계정은 이 페이지를 보거나 이 작업을 할 수 없습니다. 아무것도 바뀌지 않았습니다.",
    ),
    HTTPStatus.NOT_FOUND: text(
        en="It may have been deleted, or the address is wrong.",
        ko="삭제되었거나 주소가 잘못되었습니다.",
    ),
    HTTPStatus.INTERNAL_SERVER_ERROR: text(
        en="The server could not answer; the log of the application says why. Claims do not depend on this "
        "page. Try again in a moment.",
        ko="서버가 응답하지 못했습니다. 원인은 애플리케이션 로그에 있습니다. 쿠폰 요청 접수는 이 "
        "페이지와 관계없이 계속됩니다. 잠시 뒤 다시 시도하세요.",
    ),
}
CSRF: Final = text(
    en="The form was opened before you logged in again, or cookies are off. Nothing was changed: open the "
    "page anew and send it again.",
    ko="다시 로그인하기 전에 열어 둔 화면이거나 쿠키가 꺼져 있습니다. 아무것도 바뀌지 않았습니다. 페이지를 "
    "새로 열어 다시 보내세요.",
)
BACK: Final = text(en="To the first page", ko="첫 화면으로")
