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
    with override("ko"):
        korean = messages.refusal(code, **NAMES)
    with override("en"):
        english = messages.refusal(code, **NAMES)

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


def test_the_contracts_messages_stand_word_for_word() -> None:
    with override("ko"):
        assert messages.accepted() == (
            "쿠폰 발급 요청이 정상적으로 접수되었습니다. 잠시 후 쿠폰이 발급됩니다."
        )
        assert messages.refusal(Code.OUT_OF_STOCK, coupon_id=7) == "쿠폰 재고가 부족합니다. 쿠폰 ID: 7"


@pytest.mark.parametrize(
    ("preferred", "spoken"), [("ko", "ko"), ("en", "en"), ("en-us", "en"), ("en-gb", "en"), ("fr", "ko")]
)
def test_korean_unless_english_is_preferred(preferred: str, spoken: str) -> None:
    with override(preferred):
        assert messages.language() == spoken


def test_other_sentences_exist_in_both_languages() -> None:
    for sentence in (messages.accepted, lambda: messages.queue_size(7, 3)):
        with override("ko"):
            korean = sentence()
        with override("en"):
            english = sentence()
        assert not korean.isascii()
        assert english.isascii()
    for each in (messages.USER_ID_EXPECTED, messages.BODY_EXPECTED):
        assert set(each) == {"ko", "en"}
