"""Django's admin: ``site.py`` the models' pages; ``forms.py``, ``lists.py``, ``names.py`` their parts."""

from coupons.admin import site

__all__ = ["site"]
