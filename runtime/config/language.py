"""In which language commands speak to an operator."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final

from environs import Env
from marshmallow.validate import OneOf

#: The variables of the shell that tell the language of messages, the first one that is set (POSIX).
_OF_THE_SHELL: Final = ("LC_ALL", "LC_MESSAGES", "LANG")


class Language(StrEnum):
    KOREAN = "ko"
    ENGLISH = "en"


def load(env: Env) -> Language:
    """COUPON_LANGUAGE, else the shell's.

    Cron, containers and services have no language of their own (``C``, or nothing), and get English: a script
    that reads what a command prints gets another language only from a shell that a person has set to it.
    """
    known = ["", *(language.value for language in Language)]
    if named := env.str("COUPON_LANGUAGE", "", validate=OneOf(known)):
        return Language(named)
    shell = next(filter(None, (env.str(name, "") for name in _OF_THE_SHELL)), "")
    return Language.KOREAN if re.match(r"ko\b|ko_", shell) else Language.ENGLISH
