"""Texts that are made before anybody knows whether a log or an operator is told them, and in which language.

Settings are refused with them, and the language is a setting. So this imports nothing of ours: ``say`` of
runtime/operator_language.py tells them.
"""

from __future__ import annotations


class Wording:
    """A text, and apart from it the values of its places ``{name}``; a value may be a wording itself.

    As a string it is English, as logs are. An error whose text has Korean is a wording too.
    """

    def __init__(self, text: str, /, **values: object) -> None:
        self.text = text
        self.values = values

    def __str__(self) -> str:
        return self.text.format(**self.values) if self.values else self.text


def marked(text: str) -> str:
    """The text as it is: it has Korean, for the place that uses it."""
    return text
