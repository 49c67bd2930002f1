"""Kafka: read by ``reading.py`` (and ``broker_clocks.py``); judged by ``topics.py`` and ``cluster.py``."""
