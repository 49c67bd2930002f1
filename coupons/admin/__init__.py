"""Django's admin: ``site.py`` the models' pages; ``forms.py``, ``lists.py``, ``names.py`` their parts;
``imports.py`` rows from files; ``progress.py`` a bar for long work.

``apps.py``, ``face.py``: how it looks (django-unfold), its title and its menu. ``policy.py``: what a browser
may load for it. ``staff.py``: who logs in. ``lockout.py``: what a name that is locked after failed logins is
told. Nothing is imported here: the loop imports ``events/route.py`` alone, and the consumer nothing.
"""
