"""The database: ``reading.py`` asks it; ``server.py`` judges its variables, ``use.py`` what we do with it."""
