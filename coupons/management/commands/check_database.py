"""Can the system work on this database? gunicorn asks before it starts, and so do people."""

from __future__ import annotations

import sys
from typing import Any, Final

from django.db import Error as DatabaseLayerError

from coupons.operations import surroundings
from runtime.operator_command import OperatorCommand
from runtime.operator_language import say

UNREACHABLE: Final = 3  #: the exit status while the database is away; 1 means that it cannot work


class Command(OperatorCommand):
    help = (
        "Say in one line whether the system can work on the database of DATABASE_URL: its server, character "
        "set, tables, columns, constraints and migrations. Reads only. Exit code 1 if it cannot, with the "
        "command or statement that mends it; 3 if the database does not answer."
    )
    requires_system_checks = []  # this command is the check

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            found = surroundings.problems()
        except DatabaseLayerError as error:
            self.stderr.write(say("the database of DATABASE_URL does not answer: {error}", error=error))
            sys.exit(UNREACHABLE)
        if line := surroundings.in_one_line(found):
            self.stderr.write(line)
            sys.exit(1)
        self.stdout.write(say("the database is as it must be"))
        for problem in found:
            self.stdout.write(say("note: {problem}", problem=problem))
