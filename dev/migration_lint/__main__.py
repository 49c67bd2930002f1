"""`python -m dev.migration_lint`: exit code 1 where a migration breaks processes of the release before it."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import Final

#: Contracting migrations, by name: each with the release that stopped using what the migration takes away.
ACCEPTED: Final[tuple[str, ...]] = ()


def main(settings: str = "dev.migration_lint.settings") -> None:
    if find_spec("MySQLdb") is None:
        print("mysqlclient is not here: the migrations are not linted (deploy/mysql-headers)")
        return
    os.environ["DJANGO_SETTINGS_MODULE"] = settings
    import django
    from django.core.management import call_command

    django.setup()
    call_command(
        "lintmigrations",
        include_apps=["coupons"],
        ignore_name=list(ACCEPTED),
        sql_analyser="mysql",
        no_cache=True,
        quiet=["ok", "ignore"],
    )


if __name__ == "__main__":
    main()
