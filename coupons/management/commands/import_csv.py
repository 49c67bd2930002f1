"""Import users, coupons or lists of eligible users from CSV."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any, TextIO

from django.core.management.base import CommandError
from tqdm import tqdm

from coupons.admin import import_words
from coupons.operations import surroundings
from coupons.operations.importing import checking, writing
from coupons.operations.importing.checking import Checked
from coupons.operations.importing.rows import Kind
from runtime.operator_command import OperatorCommand
from runtime.operator_language import say


class Command(OperatorCommand):
    help = (
        "Import users (user_id, name, balance), coupons (coupon_id, description, discount_amount, stock, "
        "opens_at, closes_at, is_rehearsal, eligible_only) or lists of who may have a coupon that is for "
        "listed users alone (eligible: coupon_id, user_id) from CSV in UTF-8, whose first line names its "
        "columns. The whole "
        "file is checked first: an error in any line, and nothing is imported. Ids that exist are left as "
        "they are. A coupon without a start is closed until somebody opens it."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("kind", choices=[kind.value for kind in Kind])
        parser.add_argument("file", type=Path)
        parser.add_argument("--dry-run", action="store_true", help="check the file and import nothing")
        parser.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *args: Any, kind: str, file: Path, **options: Any) -> None:
        surroundings.refuse()
        wanted = Kind(kind)
        is_quiet = options["json"] or not sys.stderr.isatty()
        try:
            with _opened(file) as lines, _bar(say("checked"), is_quiet) as bar:
                checked = checking.check(wanted, lines, on_progress=bar.update)
            if checked.error_count:
                self._refuse(checked, **options)
            made = existing = 0
            if not options["dry_run"]:
                with (
                    file.open(encoding="utf-8-sig", newline="") as lines,
                    _bar(say("imported"), is_quiet) as bar,
                ):
                    done = writing.write(wanted, lines, on_progress=bar.update)
                made, existing = done.made, done.existing
        except (OSError, UnicodeDecodeError) as error:
            raise CommandError(
                say("{file} cannot be read as CSV in UTF-8: {error}", file=file, error=error)
            ) from error
        self._print(wanted, checked.rows, made, existing, **options)

    def _refuse(self, checked: Checked, **options: Any) -> None:
        if options["json"]:
            errors = [{"line": each.line, "message": each.message} for each in checked.errors]
            self.stdout.write(json.dumps({"errorCount": checked.error_count, "errors": errors}))
        else:
            for each in checked.errors:
                self.stderr.write(
                    say("line {line}: {message}", line=each.line, message=import_words.said(each))
                )
        raise CommandError(say("{count} lines are wrong: nothing was imported", count=checked.error_count))

    def _print(self, kind: Kind, rows: int, made: int, existing: int, **options: Any) -> None:
        if options["json"]:
            told = {"rows": rows, "made": made, "existing": existing, "dryRun": options["dry_run"]}
            self.stdout.write(json.dumps(told))
        elif options["dry_run"]:
            self.stdout.write(
                say("{rows} {kind} are without error: nothing was imported", rows=rows, kind=say(kind))
            )
        else:
            self.stdout.write(
                say(
                    "{made} {kind} imported, {existing} were there",
                    made=made,
                    kind=say(kind),
                    existing=existing,
                )
            )


def _opened(file: Path) -> TextIO:
    return file.open(encoding="utf-8-sig", newline="")


def _bar(what: str, is_quiet: bool) -> tqdm[Any]:
    return tqdm(desc=what, unit=say(" rows"), disable=is_quiet, leave=False)
