"""Django's admin: ``site.py`` the models' pages; ``forms.py``, ``lists.py``, ``names.py`` their parts.

``lockout.py``: what a name that is locked after failed logins is told.
"""

from coupons.admin import site

__all__ = ["site"]
