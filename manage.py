#!/usr/bin/env python
"""Django's command line."""

import os
import sys

from django.core.management import execute_from_command_line

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "couponsite.settings")
    try:
        execute_from_command_line(sys.argv)
    except SystemExit as ended:
        from runtime.config import ConfigError

        # A wrong setting ends every command with one line, before there are commands: the preflight
        # reports it.
        refusal = ended.__cause__
        if not isinstance(refusal, ConfigError):
            raise
        if sys.argv[1:2] == ["preflight"]:
            from coupons.operations.preflight import refused

            sys.exit(refused.tell(refusal, sys.argv[2:]))
        from runtime import refused_settings

        sys.exit(refused_settings.line(refusal, sys.argv[1:]))
