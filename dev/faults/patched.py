"""The application with the changes of COUPON_FAULTS_PATCH.

For gunicorn the API, ``dev.faults.patched``; as a program manage.py, ``python -m dev.faults.patched WORDS``.
"""

import os
import sys

import django
from django.core.management import execute_from_command_line

from dev.faults import patching

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "couponsite.settings")
if __name__ == "__main__":
    sys.argv[0] = "manage.py"
    django.setup()
else:
    from couponsite.wsgi import application as application

patching.apply(os.environ["COUPON_FAULTS_PATCH"])

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
