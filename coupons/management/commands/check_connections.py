"""Who answers on each connection? gunicorn asks before it starts, and so do people."""

from __future__ import annotations

import argparse
import sys
from typing import Any, Final

from django.conf import settings
from django.core.management.base import CommandError

from coupons.operations import connections, surroundings
from coupons.tickets import key_ring
from runtime.actuator import Component
from runtime.config import ConfigError
from runtime.operator_command import OperatorCommand
from runtime.operator_language import say

AWAY: Final = 3  #: the exit status while a server is away; 1 means that one cannot be worked with


class Command(OperatorCommand):
    help = (
        "Say of the database, Redis and Kafka who answers, and whether the connection is encrypted. Exit "
        "code 1 with one line if something cannot work that no waiting mends; 3 if a server does not answer."
    )
    requires_system_checks = []  # this command is the check

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--refuse-only", action="store_true", help="look for what no waiting mends, as each start does"
        )

    def handle(self, *args: Any, refuse_only: bool, **options: Any) -> None:
        try:
            key_ring.refuse_unusable(settings.CONFIG.identity)
        except ConfigError as error:
            raise CommandError(say(error)) from error
        connections.refuse()
        surroundings.refuse()
        if refuse_only:
            return
        answers = connections.answers()
        for name, component in answers.items():
            self.stdout.write(f"{name}: {_line(component)}")
        if not all(component.is_up for component in answers.values()):
            sys.exit(AWAY)


def _line(component: Component) -> str:
    words = [f"{name} {value}" for name, value in component.details.items()]
    return ", ".join(["UP" if component.is_up else "DOWN", *words])
