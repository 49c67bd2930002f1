"""What environs and marshmallow say of a variable, with its values apart, so that it has Korean too."""

from __future__ import annotations

import re
import string
from functools import cache
from typing import Final

from runtime.config.reading import ConfigError
from runtime.wording import marked

#: Whole lines; the first that fits counts. There is none for a variable that is not set: each has a default.
_LINES: Final = (
    marked('Environment variable "{name}" invalid: Not a valid integer.'),
    marked('Environment variable "{name}" invalid: Not a valid number.'),
    marked('Environment variable "{name}" invalid: Not a valid boolean.'),
    marked(
        'Environment variable "{name}" invalid: Special numeric values (nan or infinity) are not permitted.'
    ),
    marked(
        'Environment variable "{name}" invalid: '
        "['Must be greater than or equal to {least} and less than or equal to {most}.']"
    ),
    marked("Environment variable \"{name}\" invalid: ['Must be one of: , {choices}.']"),  # or empty
    marked("Environment variable \"{name}\" invalid: ['Must be one of: {choices}.']"),
    marked("Environment variable \"{name}\" invalid: ['Shorter than minimum length {least}.']"),
    marked("Environment variable \"{name}\" invalid: ['Length must be between {least} and {most}.']"),
    marked("Environment variable \"{name}\" invalid: ['String does not match expected pattern.']"),
    # of kafka.py, and quoted as theirs are
    marked(
        "Environment variable \"{name}\" invalid: [\"a topic's name has letters, digits, '.', '_' and '-'\"]"
    ),
    marked(
        'Environment variable "{name}" invalid: '
        "[\"an instance id has letters, digits, '.', '_' and '-', 249 at the most\"]"
    ),
)


def refused(line: str) -> ConfigError:
    """The line as an error of ours. One that is not known stays as it is, and English."""
    for text in _LINES:
        if match := _pattern(text).fullmatch(line):
            return ConfigError(text, **match.groupdict())
    return ConfigError(line)


@cache
def _pattern(text: str) -> re.Pattern[str]:
    """Of the lines that ``text`` makes, with a group for each of its places."""
    return re.compile(
        "".join(
            re.escape(plain) + (f"(?P<{name}>.*)" if name else "")
            for plain, name, _, _ in string.Formatter().parse(text)
        )
    )
