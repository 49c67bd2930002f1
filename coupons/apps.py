from django.apps import AppConfig
from django.core.checks import Tags, register


class CouponsConfig(AppConfig):
    name = "coupons"

    def ready(self) -> None:
        from coupons.operations.surroundings import system_check

        register(system_check.surroundings, Tags.database)
