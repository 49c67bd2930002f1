"""Kafka: ``reading.py`` asks (with ``rights.py``, ``broker_clocks.py``), ``facts.py`` is what was told.

``topics.py``, ``keeping.py`` and ``cluster.py`` judge.
"""
