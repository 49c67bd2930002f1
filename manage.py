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
        # A wrong setting ends every command with one line, before there are commands: the preflight
        # reports it.
        if sys.argv[1:2] != ["preflight"] or not isinstance(ended.code, str):
            raise
        from coupons.operations.preflight import refused

        sys.exit(refused.tell(ended.code, sys.argv[2:]))
