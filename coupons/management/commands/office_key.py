"""Make a key for a program of the shop's back office."""

from __future__ import annotations

import argparse
import os
from typing import Any

from django.core.management.base import CommandError

from coupons.tickets import office_keys
from coupons.tickets.office_keys import Scope, UnusableOfficeKeysError
from runtime.operator_command import OperatorCommand
from runtime.operator_language import say


class Command(OperatorCommand):
    help = (
        "Make a key for a program of the shop's back office: it is shown once, and its hash alone is kept. "
        "The line goes into the file of COUPON_OFFICE_KEYS_FILE, which the API reads again in seconds, or "
        "into COUPON_OFFICE_KEYS. To change a key, add a second line of the same name, give the program "
        "its new key, and take the first line away."
    )
    requires_system_checks = []

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("name", help="of the program that gets the key; the log tells it")
        parser.add_argument(
            "--scopes",
            required=True,
            metavar="SCOPE,SCOPE",
            help=f"what the key is good for: {', '.join(Scope)}",
        )
        parser.add_argument(
            "--append", metavar="FILE", help="write the line there too, and make it if needed"
        )

    def handle(self, *args: Any, name: str, scopes: str, append: str | None, **options: Any) -> None:
        try:
            key, kept = office_keys.new(name, [Scope(scope) for scope in scopes.split(",")])
        except UnusableOfficeKeysError as error:
            raise CommandError(
                say("the name has up to 64 letters, digits, dots, dashes, underscores")
            ) from error
        except ValueError as error:
            raise CommandError(
                say("--scopes: {error}; known are {names}", error=error, names=", ".join(Scope))
            ) from error
        if append:
            _append(append, kept.line())
        self.stdout.write(say("key:  {key}", key=key))
        self.stdout.write(say("line: {line}", line=kept.line()))
        self.stdout.write(say("The key is not shown again."))


def _append(path: str, line: str) -> None:
    """To a file that only its owner reads: hashes tell no key, but names and scopes are nobody's business."""
    try:
        with open(os.open(path, os.O_CREAT | os.O_RDWR | os.O_APPEND, 0o600), "r+") as file:
            text = file.read()
            file.write(line + "\n" if not text or text.endswith("\n") else f"\n{line}\n")
    except OSError as error:
        raise CommandError(
            say("{path} cannot be written: {error}", path=path, error=error.strerror)
        ) from error
