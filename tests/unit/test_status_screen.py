"""Lines of the operator's screen."""

from __future__ import annotations

from django.utils import translation

from coupons.management.commands.status import letters
from coupons.models import DeadLetterState
from runtime.config.language import Language
from runtime.operator_language import spoken


def test_a_state_that_this_release_does_not_know_is_shown_as_it_is() -> None:
    numbers = {DeadLetterState.WAITING.value: 1234, "PARKED": 2}

    with translation.override("en"):
        assert list(letters(numbers)) == ["2 PARKED", "1,234 waiting"]
    with spoken(Language.KOREAN), translation.override("ko"):
        assert list(letters(numbers)) == ["PARKED 2건", "대기 중 1,234건"]
