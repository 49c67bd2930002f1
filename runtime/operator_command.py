"""A command that speaks the operator's language: COUPON_LANGUAGE, else that of the shell."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, ClassVar, TextIO

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser, DjangoHelpFormatter
from django.utils import translation

from runtime import columns
from runtime.config.language import Language
from runtime.operator_language import say, shown, spoken, spoken_by_argparse


class OperatorCommand(BaseCommand):
    """``help`` and the help of arguments are written in English here, and translated when they are shown.

    With ``--json`` everything is English, what argparse refuses too: programs read it.
    """

    #: Standard output is kept by programs without ``--json`` too, as a CSV is: nothing in it is escaped.
    prints_for_programs: ClassVar[bool] = False

    def run_from_argv(self, argv: list[str]) -> None:
        is_json = "--json" in argv
        with _speaking(Language.ENGLISH if is_json else chosen()):
            if not is_json:
                _escape_what_cannot_be_shown(*(() if self.prints_for_programs else (sys.stdout,)), sys.stderr)
            super().run_from_argv(argv)

    def print_help(self, prog_name: str, subcommand: str) -> None:
        with _speaking(chosen()):
            super().print_help(prog_name, subcommand)

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        parser = super().create_parser(prog_name, subcommand, formatter_class=_WideHelp, **kwargs)
        _translate(parser)
        return parser

    def execute(self, *args: Any, **options: Any) -> str | None:
        language = Language.ENGLISH if options.get("json") else chosen()
        with spoken(language), translation.override(language.value):
            return super().execute(*args, **options)


class _WideHelp(DjangoHelpFormatter):
    """Lines that end where a terminal's do: argparse counts letters, and Hangul is two columns wide."""

    def _split_lines(self, text: str, width: int) -> list[str]:
        return columns.wrapped(text, width)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n".join(f"{indent}{line}" for line in columns.wrapped(text, width - len(indent)))


def chosen() -> Language:
    return shown(settings.CONFIG.language)


@contextmanager
def _speaking(language: Language) -> Iterator[None]:
    with ExitStack() as stack:
        stack.enter_context(spoken(language))
        if language is not Language.ENGLISH:
            stack.enter_context(spoken_by_argparse(language))
        yield


def _escape_what_cannot_be_shown(*streams: TextIO) -> None:
    """A coupon's Korean name ends no command on a terminal without Hangul: it is shown as ``\\uc2e0``."""
    for stream in streams:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _translate(parser: argparse.ArgumentParser) -> None:
    """The helps of a parser and of its actions' parsers, Django's own arguments among them."""
    parser.description = say(parser.description) if parser.description else None
    for action in parser._actions:
        if action.help and action.help != argparse.SUPPRESS:
            action.help = say(action.help)
        if isinstance(action, argparse._SubParsersAction):
            for choice in action._choices_actions:
                choice.help = say(choice.help) if choice.help else None
            for each in dict.fromkeys(action.choices.values()):
                each.formatter_class = _WideHelp
                _translate(each)
