"""The release before, to run beside this one: its code in a folder, and the tables as it left them."""

from __future__ import annotations

import io
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from django.core.management import call_command
from django.db import connection

from dev.processes import PROJECT
from dev.servers import ServiceError
from dev.services.own import Services

#: 0.1.0 by its commit, which is there where tags were not fetched. With each release it becomes that one.
COMMIT: Final = "a8c87694bf4ca5954b97a536d93e6f1126128ea8"
_GIT_S: Final = 30.0
_NONE: Final = "zero"  #: Django's word for no migration of an app


MISSING: Final = f"commit {COMMIT} is not in this clone (a shallow one, or no clone): `git fetch --unshallow`"


def is_at_hand() -> bool:
    return not _git("cat-file", "-e", f"{COMMIT}^{{tree}}").returncode


def require() -> None:
    """Raises ServiceError if this clone does not have the release before."""
    if not is_at_hand():
        raise ServiceError(MISSING)


@contextmanager
def release(services: Services) -> Iterator[Path]:
    """The former code in a folder, and the database without the migrations that came after it."""
    require()
    with tempfile.TemporaryDirectory(prefix="coupon-former-") as name:
        folder = Path(name)
        archive = _git("archive", "--format=tar", COMMIT)
        archive.check_returncode()
        with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as packed:
            packed.extractall(folder, filter="data")
        last = max(each.stem for each in (folder / "coupons/migrations").glob("0*.py"))
        connection.close()
        call_command("migrate", "coupons", last, verbosity=0)
        call_command("migrate", "axes", _NONE, verbosity=0)
        try:
            yield folder
        finally:
            connection.close()
            call_command("migrate", verbosity=0)


def _git(*words: str) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(["git", *words], cwd=PROJECT, capture_output=True, timeout=_GIT_S)
    except FileNotFoundError:
        return subprocess.CompletedProcess(words, 127, b"", b"git is not here")
