"""What Django keeps by thread and a page needs to its end, whatever threads make its parts."""

from __future__ import annotations

from collections.abc import Callable

from django.utils import timezone, translation


def language_and_time_zone() -> Callable[[], None]:
    """Those of this thread's page. What it returns activates them in the thread that calls it."""
    language, time_zone = translation.get_language(), timezone.get_current_timezone()

    def activate() -> None:
        if language is None:
            translation.deactivate_all()
        else:
            translation.activate(language)
        timezone.activate(time_zone)

    return activate
