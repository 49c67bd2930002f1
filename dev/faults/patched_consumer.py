"""manage.py with the changes of COUPON_FAULTS_PATCH: python -m dev.faults.patched_consumer WORDS."""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "couponsite.settings")
    sys.argv[0] = "manage.py"
    import django

    django.setup()
    from dev.faults import patching

    patching.apply(os.environ["COUPON_FAULTS_PATCH"])
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)
