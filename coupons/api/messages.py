"""The API's messages for people: Korean by default, English for ``Accept-Language: en``."""

from __future__ import annotations

from functools import lru_cache
from typing import Final, Literal

from django.http import HttpRequest
from django.utils import translation
from django.utils.translation import get_language

from coupons.outcomes import Code
from coupons.tickets.ticket import Flaw

Language = Literal["ko", "en"]

_ACCEPTED: Final = {
    "ko": "쿠폰 발급 요청이 정상적으로 접수되었습니다. 잠시 후 쿠폰이 발급됩니다.",
    "en": "Your coupon request was accepted. The coupon will be issued shortly.",
}
_QUEUE_SIZE: Final = {
    "ko": "쿠폰 ID {coupon_id}의 발급 대기 요청은 {size}건입니다.",
    "en": "{size} requests for coupon {coupon_id} are waiting to be decided.",
}
_REFUSALS: Final[dict[Code, dict[str, str]]] = {
    Code.INVALID_REQUEST: {"ko": "잘못된 요청입니다. {detail}", "en": "Invalid request. {detail}"},
    Code.IDENTITY_NOT_PROVEN: {
        "ko": "본인 확인에 실패했습니다. {detail} 헤더를 확인해 주세요.",
        "en": "Your identity is not proven. See the {detail} header.",
    },
    Code.TICKET_MISSING: {
        "ko": "로그인이 필요합니다. Authorization: Bearer 헤더에 티켓을 넣어 주세요.",
        "en": "A ticket is needed: send it as Authorization: Bearer.",
    },
    Code.TICKET_MALFORMED: {
        "ko": "티켓을 사용할 수 없습니다. {detail}",
        "en": "The ticket cannot be used. {detail}",
    },
    Code.TICKET_FOREIGN: {
        "ko": "이 서비스를 위해 발급된 티켓이 아닙니다. {detail}",
        "en": "The ticket is not from our login, or not for this service. {detail}",
    },
    Code.TICKET_EXPIRED: {
        "ko": "티켓이 만료되었습니다. 새 티켓을 받아 주세요.",
        "en": "The ticket has expired: get a new one.",
    },
    Code.TICKET_NOT_YET_VALID: {
        "ko": "아직 사용할 수 없는 티켓입니다.",
        "en": "The ticket is not valid yet.",
    },
    Code.TICKET_OF_ANOTHER_USER: {
        "ko": "다른 사용자의 티켓입니다.",
        "en": "The ticket is another user's.",
    },
    Code.TICKET_FOR_ANOTHER_COUPON: {
        "ko": "다른 쿠폰을 위한 티켓입니다.",
        "en": "The ticket is for another coupon.",
    },
    Code.OFFICE_KEY_UNKNOWN: {
        "ko": "X-API-Key 헤더의 키를 알 수 없습니다.",
        "en": "The key in X-API-Key is not known.",
    },
    Code.SCOPE_MISSING: {
        "ko": "이 키에는 {detail} 권한이 없습니다.",
        "en": "This key does not have the scope {detail}.",
    },
    Code.SIGNER_UNAVAILABLE: {
        "ko": "지금은 티켓을 확인할 수 없습니다. 잠시 후 다시 시도해 주세요.",
        "en": "Tickets cannot be checked right now. Please try again shortly.",
    },
    Code.USER_NOT_FOUND: {
        "ko": "사용자를 찾을 수 없습니다. 사용자 ID: {user_id}",
        "en": "User not found. User ID: {user_id}",
    },
    Code.COUPON_NOT_FOUND: {
        "ko": "쿠폰을 찾을 수 없습니다. 쿠폰 ID: {coupon_id}",
        "en": "Coupon not found. Coupon ID: {coupon_id}",
    },
    Code.NOT_ELIGIBLE: {
        "ko": "발급 대상이 아닌 사용자입니다. 쿠폰 ID: {coupon_id}",
        "en": "This coupon is for chosen users, and you are not among them. Coupon ID: {coupon_id}",
    },
    Code.COUPON_CLOSED: {
        "ko": "현재 발급할 수 없는 쿠폰입니다. 쿠폰 ID: {coupon_id}",
        "en": "This coupon is not open for claims now. Coupon ID: {coupon_id}",
    },
    Code.CLAIMS_PAUSED: {
        "ko": "쿠폰 발급 요청 접수가 잠시 중단되었습니다. 잠시 후 다시 시도해 주세요. 쿠폰 ID: {coupon_id}",
        "en": "Claims of this coupon are paused. Please try again shortly. Coupon ID: {coupon_id}",
    },
    Code.OUT_OF_STOCK: {
        "ko": "쿠폰 재고가 부족합니다. 쿠폰 ID: {coupon_id}",
        "en": "This coupon is sold out. Coupon ID: {coupon_id}",
    },
    Code.ALREADY_REQUESTED: {
        "ko": "이미 발급받았거나 발급 요청이 처리 중인 쿠폰입니다. 쿠폰 ID: {coupon_id}",
        "en": "You already have this coupon, or your request for it is under way. Coupon ID: {coupon_id}",
    },
    Code.BROKER_UNAVAILABLE: {
        "ko": "지금은 요청을 접수할 수 없습니다. 잠시 후 다시 시도해 주세요.",
        "en": "Requests cannot be accepted right now. Please try again shortly.",
    },
    Code.TOO_MANY_REQUESTS: {
        "ko": "요청이 너무 많습니다. 잠시 후 다시 시도해 주세요.",
        "en": "Too many requests. Please try again shortly.",
    },
    Code.REQUEST_NOT_FOUND: {
        "ko": "요청을 찾을 수 없습니다. 요청 ID: {asked_for}",
        "en": "Request not found. Request ID: {asked_for}",
    },
    Code.NOT_FOUND: {"ko": "존재하지 않는 경로입니다.", "en": "There is nothing at this address."},
    Code.METHOD_NOT_ALLOWED: {
        "ko": "이 경로에서 지원하지 않는 메서드입니다. {detail}",
        "en": "This address does not support that method. {detail}",
    },
    Code.INTERNAL_ERROR: {
        "ko": "일시적인 오류가 발생했습니다. 잠시 후 다시 시도해 주세요.",
        "en": "Something went wrong on our side. Please try again shortly.",
    },
}
FLAWS: Final[dict[Flaw, dict[str, str]]] = {
    Flaw.LENGTH: {"ko": "너무 깁니다.", "en": "It is too long."},
    Flaw.FORM: {"ko": "JWT 형식이 아닙니다.", "en": "It is no JWT in compact form."},
    Flaw.ALGORITHM: {
        "ko": "알고리즘은 EdDSA, RS256, HS256 중 하나여야 합니다.",
        "en": "Its algorithm must be EdDSA, RS256 or HS256.",
    },
    Flaw.CRITICAL: {
        "ko": "crit 또는 b64 헤더는 지원하지 않습니다.",
        "en": "Its header has crit or b64, which are not supported.",
    },
    Flaw.CLAIMS: {
        "ko": "sub은 사용자 ID 문자열, exp는 초 단위 숫자, couponId는 정수여야 합니다.",
        "en": "sub must be the user's id as a string, exp a number of seconds, couponId a whole number.",
    },
    Flaw.LIFETIME: {"ko": "유효 기간이 너무 깁니다.", "en": "It is valid for too long."},
    Flaw.KEY: {"ko": "서명한 키를 알 수 없습니다.", "en": "The key that signed it is not known."},
    Flaw.SIGNATURE: {"ko": "서명이 올바르지 않습니다.", "en": "Its signature is wrong."},
    Flaw.ISSUER: {"ko": "iss가 다릅니다.", "en": "Its iss is another one."},
    Flaw.AUDIENCE: {"ko": "aud가 다릅니다.", "en": "Its aud is another one."},
}
USER_ID_EXPECTED: Final = {
    "ko": "userId는 1 이상 9223372036854775807 이하의 정수여야 합니다.",
    "en": "userId must be a whole number from 1 to 9223372036854775807.",
}
USER_ID_BELONGS: Final = {
    "ko": "userId는 본문이 아니라 쿼리 문자열에 넣어야 합니다. 예: POST /api/coupons/1/issue?userId=1",
    "en": "userId belongs in the query string, not in the body: POST /api/coupons/1/issue?userId=1",
}
HOST_EXPECTED: Final = {
    "ko": "Host 헤더의 값이 서버의 ALLOWED_HOSTS 설정에 없습니다: {host}",
    "en": "The Host header is not in the server's ALLOWED_HOSTS setting: {host}",
}
BODY_EXPECTED: Final = {
    "ko": "본문은 비어 있거나 올바른 JSON이어야 합니다.",
    "en": "The body must be empty or valid JSON.",
}
_BODY_TOO_LONG: Final = {
    "ko": "본문은 {most}바이트를 넘을 수 없습니다.",
    "en": "The body must not be longer than {most} bytes.",
}


def language() -> Language:
    """The language that LocaleMiddleware chose for this request."""
    return language_of(get_language())


def language_of(code: str | None) -> Language:
    """English if the client prefers it, else Korean."""
    return "en" if (code or "ko").startswith("en") else "ko"


@lru_cache(maxsize=1024)
def language_for(accepted: str | None) -> Language:
    """The language that LocaleMiddleware would choose, from the Accept-Language header alone."""
    request = HttpRequest()
    if accepted is not None:
        request.META["HTTP_ACCEPT_LANGUAGE"] = accepted
    return language_of(translation.get_language_from_request(request))


def accepted(language: Language) -> str:
    return _ACCEPTED[language]


def host_expected(host: str) -> dict[str, str]:
    return {language: text.format(host=host) for language, text in HOST_EXPECTED.items()}


def body_too_long(most: int) -> dict[str, str]:
    return {language: text.format(most=most) for language, text in _BODY_TOO_LONG.items()}


def queue_size(coupon_id: int, size: int, language: Language) -> str:
    return _QUEUE_SIZE[language].format(coupon_id=coupon_id, size=size)


def refusal(code: Code, language: Language, **names: object) -> str:
    """The message of a refusal; ``names`` fill its gaps (coupon_id, user_id, asked_for, detail).

    A value that has words is given in both languages.
    """
    in_words = {name: text[language] if isinstance(text, dict) else text for name, text in names.items()}
    return _REFUSALS[code][language].format(**in_words).strip()
