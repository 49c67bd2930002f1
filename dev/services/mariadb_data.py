"""The database's data folder: made whole or not at all, and owned by the account the server runs as."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from dev.services.programs import require
from dev.services.stack import Kind

if TYPE_CHECKING:
    from dev.services.mariadb import MariaDB

INSTALL_TIMEOUT_S = 180.0
UNPRIVILEGED = "mysql"


def account_for(directory: Path) -> pwd.struct_passwd | None:
    """Whom the server runs as when root starts it; None for everybody else, who starts it as themselves.

    The package's own account, unless it cannot reach the folder (a project below /root): then root.
    """
    if os.geteuid() != 0:
        return None
    try:
        account = pwd.getpwnam(UNPRIVILEGED)
    except KeyError:
        return pwd.getpwuid(0)
    reached = subprocess.run(
        ["test", "-x", str(directory)],
        user=account.pw_uid,
        group=account.pw_gid,
        extra_groups=[],
        check=False,
    )
    return account if reached.returncode == 0 else pwd.getpwuid(0)


def user_option(account: pwd.struct_passwd | None) -> list[str]:
    return [] if account is None else [f"--user={account.pw_name}"]


def provide(database: MariaDB, account: pwd.struct_passwd | None) -> None:
    """Have the data folder; one whose making was interrupted is made anew."""
    folder, data = database.folder, database.data
    unfinished = folder / "data.new"
    folder.mkdir(exist_ok=True)
    folder.chmod(0o700)
    if account is not None:
        _hand_over(folder, account)
    if data.exists():
        return
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o700)
    if account is not None:
        _hand_over(folder, account)
    command = _install_command(database.programs.server, kind=database.choice.kind, account=account)
    database.process(command, folder=unfinished).run(
        within_s=INSTALL_TIMEOUT_S, failing="the database's data folder could not be made"
    )
    unfinished.rename(data)


def _install_command(server: Path, *, kind: Kind, account: pwd.struct_passwd | None) -> list[str]:
    """Relative to the new data folder: a space in the path above it cannot hurt."""
    common = ["--no-defaults", "--datadir=./", *user_option(account)]
    if kind is Kind.MYSQL:
        return [str(server), *common, "--initialize-insecure"]
    installer = require(["mariadb-install-db", "mysql_install_db"], packages=["mariadb-server"])
    administrator = pwd.getpwuid(os.geteuid()).pw_name
    return [
        str(installer), *common, "--skip-test-db", "--skip-name-resolve",
        "--auth-root-authentication-method=socket", f"--auth-root-socket-user={administrator}",
    ]  # fmt: skip


def _hand_over(folder: Path, account: pwd.struct_passwd) -> None:
    """Give everything in the folder to the account: it may have been another's at the last start."""
    for place, _, files in os.walk(folder):
        for path in (place, *(os.path.join(place, name) for name in files)):
            if os.lstat(path).st_uid != account.pw_uid:
                os.lchown(path, account.pw_uid, account.pw_gid)
