"""Options that do nothing together are refused: whoever gave both believes that both are heeded."""

from __future__ import annotations

import pytest
from django.core.management import CommandError, call_command

from coupons.models import DeadLetter

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize(
    ("words", "mend"),
    [
        (["verify", "--watch", "--coupon", "1"], "verify --coupon without --watch"),
        (["verify", "--watch", "--from-topic"], "verify --from-topic without --watch"),
        (["verify", "--watch", "--from-topic", "--coupon=1"], "verify --coupon --from-topic without --watch"),
        (["dead_letters", "replay", "5", "--all", "--yes"], "leave out --all"),
        (["dead_letters", "discard", "--reason=UNSTORABLE", "--all", "--yes"], "leave out --all"),
        (["reconcile", "--dry-run", "--wait", "5"], "leave out --wait"),
        (["preflight", "--only", ","], "names no check"),
        (["seed", "--yes"], "go with --reset"),
        (["steer", "open", "--coupon=1", "--why=x", "--amount=5"], "change-stock takes --amount"),
    ],
)
def test_what_would_be_ignored_is_refused(words: list[str], mend: str) -> None:
    with pytest.raises(CommandError, match=mend) as refused:
        call_command(*words)

    assert "\n" not in str(refused.value)
    assert not DeadLetter.objects.exists()
