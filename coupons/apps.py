from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Tags, register
from django.core.signals import request_started
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

from runtime import database_roles, database_server


class CouponsConfig(AppConfig):
    name = "coupons"

    def ready(self) -> None:
        from coupons.operations.surroundings import system_check

        connection_created.connect(_refuse_clear_text)
        request_started.connect(_look_at_database)
        register(system_check.surroundings, Tags.database)
        register(_identity, Tags.security, deploy=True)


def _identity(**given: Any) -> list[CheckMessage]:
    """`manage.py check --deploy` alone asks: no other process loads tickets and cryptography for it."""
    from coupons.tickets import deploy_check

    return deploy_check.identity(**given)


def _refuse_clear_text(*, connection: BaseDatabaseWrapper, **_: Any) -> None:
    """Look at every new connection: after a failover another server may answer."""
    database_server.refuse_clear_text(connection, settings.CONFIG.database)


def _look_at_database(**_: Any) -> None:
    """Of a page's thread: an old primary would show rows of before the failover for as long as it lives."""
    database_roles.look()
