"""Errors are reported to Sentry where COUPON_SENTRY_DSN says so; else its library is not even imported.

An error is a record that is logged at ERROR, with its trace if it has one, or an exception that ends a thread
or the process. What stands in variables is not sent, for users' ids are among it; nor are requests. No record
waits for Sentry: what its queue of a hundred cannot take is dropped.
"""

from __future__ import annotations

import logging
from typing import Final

from runtime import __version__
from runtime.config import LogSettings

#: A stopping process waits so long for reports that are on their way. Longer, and a Sentry that is away holds
#: up each stop.
_LAST_REPORTS_S: Final = 2


def report(settings: LogSettings) -> None:
    """Begin in this process. Called once, while Django is set up."""
    if not settings.sentry_dsn:
        return
    import sentry_sdk
    from sentry_sdk.integrations.atexit import AtexitIntegration
    from sentry_sdk.integrations.excepthook import ExcepthookIntegration
    from sentry_sdk.integrations.logging import LoggingIntegration
    from sentry_sdk.integrations.threading import ThreadingIntegration

    sentry_sdk.init(
        dsn=settings.sentry_dsn,
        release=f"coupon-system@{__version__}",
        environment=settings.sentry_environment,
        default_integrations=False,
        auto_enabling_integrations=False,
        integrations=[
            LoggingIntegration(level=None, event_level=logging.ERROR),
            ExcepthookIntegration(),
            ThreadingIntegration(),
            AtexitIntegration(callback=lambda pending, timeout: None),  # else it prints what it waits for
        ],
        max_breadcrumbs=0,
        include_local_variables=False,
        send_default_pii=False,
        shutdown_timeout=_LAST_REPORTS_S,
    )
