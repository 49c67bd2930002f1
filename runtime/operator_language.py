"""What commands print, in the operator's language. Logs, health and JSON are English, whatever it is.

One language for the whole process, and not one for each thread, as Django's is: a command is one process,
and the threads that it starts (the preflight reads its subjects in some) speak as it does. Only
``OperatorCommand`` chooses one. Every other process says the same texts in English, as its log lines must be.

``say`` stands around each text where it is made; ``marked`` around one that is a constant, and which ``say``
gets where it is used. A ``Wording`` (runtime/wording.py), as the refusal of a setting is, stays English until
``say`` tells it. The Korean is in ``coupons/locale/ko/LC_MESSAGES/commands.po`` (`make messages`);
tests/unit/test_commands_korean.py finds what has none.
"""

from __future__ import annotations

import gettext
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Final

from runtime.config import BASE_DIR
from runtime.config.language import Language
from runtime.wording import Wording
from runtime.wording import marked as marked  # whoever says texts marks some

DOMAIN: Final = "commands"
_HANGUL: Final = "한글"
_CATALOGUES: Final = BASE_DIR / "coupons" / "locale"

_spoken = Language.ENGLISH


def say(text: str | Wording, /, **values: object) -> str:
    """The text in the operator's language, with its places ``{name}`` filled. From any thread.

    A wording has its values with it.
    """
    if isinstance(text, Wording):
        values = {
            name: say(value) if isinstance(value, Wording) else value for name, value in text.values.items()
        }
        return say(text.text, **values)
    told = _korean().gettext(text) if text and _spoken is Language.KOREAN else text
    return told.format(**values) if values else told


def language() -> Language:
    """What is spoken now."""
    return _spoken


def shown(wanted: Language) -> Language:
    """The language; English where standard output cannot show Hangul, which would come as escapes."""
    if wanted is Language.ENGLISH:
        return wanted
    try:
        # There is no standard output where descriptor 1 was closed before the start.
        _HANGUL.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except (LookupError, UnicodeEncodeError):
        return Language.ENGLISH
    return wanted


@contextmanager
def spoken(wanted: Language) -> Iterator[None]:
    """Speak it in the whole process meanwhile."""
    global _spoken
    before, _spoken = _spoken, wanted
    try:
        yield
    finally:
        _spoken = before


@contextmanager
def spoken_by_argparse(wanted: Language) -> Iterator[None]:
    """Let argparse say its own words ("usage", "required") in it too: it asks gettext, and that LANGUAGE."""
    domain, before = gettext.textdomain(), os.environ.get("LANGUAGE")
    gettext.bindtextdomain(DOMAIN, str(_CATALOGUES))
    gettext.textdomain(DOMAIN)
    os.environ["LANGUAGE"] = wanted.value
    try:
        yield
    finally:
        gettext.textdomain(domain)
        if before is None:
            del os.environ["LANGUAGE"]
        else:
            os.environ["LANGUAGE"] = before


@cache
def _korean() -> gettext.NullTranslations:
    return gettext.translation(DOMAIN, str(_CATALOGUES), languages=[Language.KOREAN.value])
