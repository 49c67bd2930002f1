"""Redis: read by ``reading.py``, judged by ``judging.py``."""
