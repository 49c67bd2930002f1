"""Django's wiring: it imports all packages, and none imports it.

``settings.py``, ``urls.py``   Django's own; ``wsgi.py`` and ``doors.py``: where a request goes
``gunicorn_conf.py``           how gunicorn serves it; ``starting.py``: what refuses to start
"""
