"""What the API says to people: every code in both languages, with its gaps filled."""

from __future__ import annotations

import pytest
from django.utils.translation import override

from coupons.api import messages
from coupons.api.errors import HTTP_STATUS
from coupons.outcomes import Code

NAMES = {"coupon_id": 41, "user_id": 42, "asked_for": 43, "detail": "44"}


@pytest.mark.parametrize("code", Code)
def test_every_code_has_a_message_in_both_languages(code: Code) -> None:
    korean = messages.refusal(code, "ko", **NAMES)
    english = messages.refusal(code, "en", **NAMES)

    assert not korean.isascii()
    assert english.isascii()
    for message in (korean, english):
        assert not set("{}") & set(message)
    # The same gaps in both: a message that names the coupon names it in either language.
    names = [str(name) for name in NAMES.values()]
    assert [name in korean for name in names] == [name in english for name in names]


@pytest.mark.parametrize("code", Code)
def test_every_code_has_its_http_status(code: Code) -> None:
    assert HTTP_STATUS[code] >= 400


def test_the_documented_messages_stand_word_for_word() -> None:
    assert messages.accepted("ko") == "쿠폰 발급 요청이 정상적으로 접수되었습니다. 잠시 후 쿠폰이 발급됩니다."
    assert messages.refusal(Code.OUT_OF_STOCK, "ko", coupon_id=7) == "쿠폰 재고가 부족합니다. 쿠폰 ID: 7"


@pytest.mark.parametrize(
    ("preferred", "spoken"), [("ko", "ko"), ("en", "en"), ("en-us", "en"), ("en-gb", "en"), ("fr", "ko")]
)
def test_korean_unless_english_is_preferred(preferred: str, spoken: str) -> None:
    with override(preferred):
        assert messages.language() == spoken


def test_a_detail_is_told_in_the_language_of_its_message() -> None:
    told = [
        messages.refusal(Code.INVALID_REQUEST, each, detail={"ko": "숫자", "en": "digits"})
        for each in ("ko", "en")
    ]

    assert told == ["잘못된 요청입니다. 숫자", "Invalid request. digits"]


def test_other_sentences_exist_in_both_languages() -> None:
    korean = [messages.accepted("ko"), messages.queue_size(7, 3, "ko")]
    english = [messages.accepted("en"), messages.queue_size(7, 3, "en")]
    assert not any(sentence.isascii() for sentence in korean)
    assert all(sentence.isascii() for sentence in english)
    for each in (
        messages.USER_ID_EXPECTED,
        messages.USER_ID_BELONGS,
        messages.BODY_EXPECTED,
        messages.host_expected("elsewhere.example"),
    ):
        assert set(each) == {"ko", "en"}
        assert each["en"].isascii()
        assert not each["ko"].isascii()
