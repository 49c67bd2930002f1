"""Redis: ``reading.py`` asks it, ``judging.py`` and ``replicas.py`` judge."""
