"""What a command says of a wrong setting: before there is a command, and so before one chose its language."""

from __future__ import annotations

from collections.abc import Sequence

from environs import Env, EnvError

from runtime.config import ConfigError, language
from runtime.config.language import Language
from runtime.operator_language import say, shown, spoken


def line(error: ConfigError, arguments: Sequence[str]) -> str:
    """The one line that the command ends with. ``arguments``: those of ``manage.py``."""
    with spoken(language_of(arguments)):
        return say("settings: {problem}", problem=say(error))


def language_of(arguments: Sequence[str]) -> Language:
    """The operator's; English where programs read it, and where COUPON_LANGUAGE is what is wrong."""
    if "--json" in arguments:
        return Language.ENGLISH
    try:
        return shown(language.load(Env()))
    except EnvError:
        return Language.ENGLISH
