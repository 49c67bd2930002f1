"""The document's words, in both languages."""

from __future__ import annotations

from typing import Final

from django.utils.functional import lazy

from coupons.api import messages


def _chosen(ko: str, en: str) -> str:
    return en if messages.language() == "en" else ko


_lazily: Final = lazy(_chosen, str)


def said(*, ko: str, en: str) -> str:
    """A text whose language is chosen when the document is made."""
    return _lazily(ko, en)


TITLE: Final = said(ko="쿠폰 API", en="Coupon API")
DESCRIPTION: Final = said(
    ko="선착순 쿠폰: 발급을 요청하고, 결과를 묻고, 조회합니다. 거절은 `code`로 구분하세요. 메시지는 바뀔 수 "
    "있습니다. 시각은 epoch 밀리초입니다. 필드와 헤더는 늘어날 수 있습니다.",
    en="First come, first served coupons: claim, ask for the result, look up. Go by the `code` of a refusal: "
    "messages may change. Times are epoch milliseconds. Fields and headers may be added.",
)
#: By operation: the summary, and the description if there is one.
OPERATIONS: Final[dict[str, tuple[str, str]]] = {
    "getCoupon": (said(ko="쿠폰", en="A coupon"), ""),
    "claimCoupon": (
        said(ko="쿠폰 발급 요청", en="Claim a coupon"),
        said(
            ko="202는 브로커가 요청을 보관했다는 뜻입니다. 요청은 도착한 순서대로 반드시 결정됩니다. 결과는 "
            "`Location`에 물으세요. 503에 `requestId`가 있으면 접수 여부가 확실하지 않으니 그 요청의 상태를 "
            "물으세요. 본문은 필요 없으며, 보낸다면 4096바이트 이하의 JSON이어야 합니다.",
            en="202 means that the broker holds the request: it will be decided, in its order. Ask "
            "`Location` for the result. On 503 with a `requestId` it is not certain whether the request was "
            "accepted: ask for that request's status. No body is needed; one that is sent must be JSON of "
            "4096 bytes at most.",
        ),
    ),
    "getRequest": (
        said(ko="요청의 결과", en="What became of a request"),
        said(
            ko="`PENDING`은 아직 결정되지 않았고, `ISSUED`, `REJECTED`, `FAILED`는 최종입니다.",
            en="`PENDING` is not decided yet; `ISSUED`, `REJECTED` and `FAILED` are final.",
        ),
    ),
    "getUserCoupons": (
        said(ko="사용자의 쿠폰, 최신순", en="A user's coupons, newest first"),
        said(
            ko="쿠폰이 없거나 존재하지 않는 사용자는 빈 목록입니다.",
            en="An empty list for a user who has none or does not exist.",
        ),
    ),
    "getQueueSize": (
        said(ko="접수되었고 아직 결정되지 않은 요청", en="Requests accepted and not yet decided"),
        "",
    ),
}
#: By status: when it is answered.
STATUSES: Final[dict[int, str]] = {
    400: said(ko="요청이 잘못되었습니다.", en="The request is not a right one."),
    401: said(
        ko="티켓이나 키가 없거나 쓸 수 없습니다. 새 티켓을 받으세요.",
        en="The ticket or key is missing, or cannot be used: get a new ticket.",
    ),
    403: said(
        ko="다른 사용자나 다른 쿠폰의 티켓이거나, 키에 권한이 없습니다.",
        en="The ticket is another user's or for another coupon, or the key has no such scope.",
    ),
    404: said(ko="없습니다.", en="There is no such thing."),
    405: said(ko="이 경로에 없는 메서드입니다.", en="The address has no such method."),
    408: said(ko="요청이 제때 도착하지 않았습니다.", en="The request did not come in time."),
    409: said(ko="쿠폰을 받을 수 없습니다.", en="The coupon cannot be had."),
    414: said(ko="주소가 너무 깁니다.", en="The address is too long."),
    417: said(ko="지원하지 않는 Expect 헤더입니다.", en="An Expect header that is not supported."),
    429: said(
        ko="사용자나 주소가 너무 자주 요청했습니다. `Retry-After` 뒤에 다시 시도하세요.",
        en="The user or the address asks too often. Try again after `Retry-After`.",
    ),
    431: said(ko="헤더가 너무 많거나 깁니다.", en="Too many header fields, or too long ones."),
    500: said(ko="서버의 결함입니다.", en="A fault of ours."),
    503: said(
        ko="지금은 답할 수 없습니다. `Retry-After` 뒤에 다시 시도하세요.",
        en="It cannot be answered now. Try again after `Retry-After`.",
    ),
}
ACCEPT_LANGUAGE: Final = said(
    ko="메시지의 언어. `en`이면 영어, 그 밖에는 한국어입니다.",
    en="The language of messages: English for `en`, else Korean.",
)
LOCATION: Final = said(ko="요청의 결과를 물을 주소", en="Where to ask for the request's result")
CHALLENGE: Final = said(ko="어떤 증명이 필요한지(RFC 6750)", en="What proof is asked for (RFC 6750)")
RETRY_AFTER: Final = said(ko="다시 시도하기까지의 초", en="Seconds to wait before another try")
RATE_LIMITS: Final[dict[str, str]] = {
    "RateLimit-Policy": said(
        ko="제한이 켜져 있을 때. 이름마다 `q`는 한 번에 가능한 수, `w`는 다 쓴 뒤 모두 차기까지의 초 "
        "(draft-ietf-httpapi-ratelimit-headers-10)",
        en="Where limits are on, by name: `q` so many at once, `w` seconds until all are there again "
        "(draft-ietf-httpapi-ratelimit-headers-10)",
    ),
    "RateLimit": said(
        ko="제한이 켜져 있을 때. `r`은 남은 수, `t`는 다시 차기까지의 초",
        en="Where limits are on: `r` how many are left, `t` seconds until they are there again",
    ),
}
ALLOW: Final = said(ko="이 경로의 메서드", en="The methods of this address")
REQUEST_ID: Final = said(
    ko="이 물음에 답이 되는 요청. 없으면 빈 문자열입니다.",
    en="The request whose result answers the question, or empty.",
)
POSITION: Final = said(
    ko="파티션에서 앞에 있는 이벤트 수. 알 수 없으면 null입니다.",
    en="Events ahead of it in its partition; null if not known.",
)
ETA: Final = said(
    ko="결정되기까지 예상되는 초. 알 수 없으면 null입니다.",
    en="Seconds until it is likely decided; null if not known.",
)
#: By the scheme's name in coupons/api/security.py.
SECURITY: Final[dict[str, str]] = {
    "ticket": said(
        ko="쇼핑몰의 로그인이 서명한 티켓(JWT). `sub`은 사용자 ID 문자열, `exp`는 필수, `couponId`는 그 "
        "쿠폰에만 쓸 수 있다는 뜻입니다. 본인 확인이 켜진 서버만 요구합니다.",
        en="A ticket of the shop's login: `sub` is the user's id as a string, `exp` is required, `couponId` "
        "limits it to one coupon. Asked for where identity is on.",
    ),
    "officeKey": said(
        ko="백오피스의 키(`manage.py office_key`). 경로마다 권한이 필요합니다: `claims:write`, "
        "`requests:read`, `users:read`.",
        en="A key of the shop's back office (`manage.py office_key`), with a scope for each route: "
        "`claims:write`, `requests:read`, `users:read`.",
    ),
    "userToken": said(
        ko="곧 없어집니다. userId의 HMAC-SHA256(hex).",
        en="Deprecated: the hex HMAC-SHA256 of the user's id, which is valid for ever.",
    ),
}
EXAMPLE_COUPON: Final = said(ko="신규가입 할인쿠폰", en="Welcome coupon")
