"""The admin's words in both languages.

The models get their Korean names here and not in ``models.py``: only the admin uses them, and Django
writes a migration for each ``verbose_name`` that a model declares.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, cast

from django.contrib.auth.models import Group
from django.contrib.auth.models import User as StaffUser
from django.db import models
from django.utils.functional import lazy
from django.utils.translation import get_language

from coupons.models import Coupon, DeadLetter, IssueOutcome, Point, User, UserCoupon

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise


def _chosen(*, en: str, ko: str) -> str:
    # Without a language, as when Django stores a log entry, the text is English.
    return ko if (get_language() or "en").startswith("ko") else en


_lazily_chosen = lazy(_chosen, str)


def text(*, en: str, ko: str) -> _StrPromise:
    """A text that is Korean where the reader's language is."""
    promise: _StrPromise = _lazily_chosen(en=en, ko=ko)  # type: ignore[assignment]
    return promise


_TIMES: Final = {"created_at": "생성 시각", "updated_at": "수정 시각"}
_KOREAN: Final[Mapping[type[models.Model], tuple[str, Mapping[str, str]]]] = {
    User: ("고객", {"user_id": "고객 ID", "name": "이름", **_TIMES}),
    Point: ("포인트", {"point_id": "포인트 ID", "user": "고객", "balance": "잔액", **_TIMES}),
    Coupon: (
        "쿠폰",
        {
            "coupon_id": "쿠폰 ID",
            "description": "설명",
            "discount_amount": "할인 금액",
            "stock": "남은 재고",
            "issued_count": "발급 수량",
            "coupon_status": "상태",
            "opens_at": "시작 시각",
            "closes_at": "종료 시각",
            "is_rehearsal": "리허설 (고객에게 보이지 않음)",
            "eligible_only": "대상자 전용 (발급 대상 목록의 고객만)",
            "reset_at": "초기화 시각",
            **_TIMES,
        },
    ),
    UserCoupon: (
        "발급된 쿠폰",
        {
            "user_coupon_id": "발급 쿠폰 ID",
            "user": "고객",
            "coupon": "쿠폰",
            "status": "상태",
            "issued_at": "발급 시각",
            "used_at": "사용 시각",
            "request_id": "요청 ID",
            **_TIMES,
        },
    ),
    IssueOutcome: (
        "요청 결과",
        {
            "request_id": "요청 ID",
            "coupon_id": "쿠폰 ID",
            "user_id": "고객 ID",
            "status": "결과",
            "reason": "사유",
            "coupon_epoch": "쿠폰 행 식별값",
            "detail": "상세",
            "user_coupon_id": "발급 쿠폰 ID",
            "claim_rank": "순위",
            "requested_at": "요청 시각",
            "processed_at": "처리 시각",
            "stock_left": "처리 후 재고",
            "kafka_partition": "Kafka 파티션",
            "kafka_offset": "Kafka 오프셋",
        },
    ),
    DeadLetter: (
        "처리 불가 이벤트",
        {
            "dead_letter_id": "번호",
            "state": "상태",
            "reason": "사유",
            "error": "오류",
            "request_id": "요청 ID",
            "original_topic": "토픽",
            "original_partition": "Kafka 파티션",
            "original_offset": "Kafka 오프셋",
            **_TIMES,
        },
    ),
}


#: Those who log in to the admin, told apart from those who get coupons. Django's Korean has "사용자(들)".
_STAFF: Final = {
    StaffUser: (text(en="staff account", ko="직원 계정"), text(en="staff accounts", ko="직원 계정")),
    Group: (text(en="staff group", ko="직원 그룹"), text(en="staff groups", ko="직원 그룹")),
}


def name_tables() -> None:
    """Give models and columns their Korean names, and people the names that tell them apart."""
    for staff, (one, many) in _STAFF.items():
        staff._meta.verbose_name, staff._meta.verbose_name_plural = one, many
    User._meta.verbose_name, User._meta.verbose_name_plural = "customer", "customers"
    for model, (name, columns) in _KOREAN.items():
        meta = model._meta
        meta.verbose_name = text(en=str(meta.verbose_name), ko=name)
        meta.verbose_name_plural = text(en=str(meta.verbose_name_plural), ko=name)
        for column, korean in columns.items():
            field = cast("models.Field[Any, Any]", meta.get_field(column))
            field.verbose_name = text(en=str(field.verbose_name), ko=korean)
