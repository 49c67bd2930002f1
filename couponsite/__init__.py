"""Django wiring: settings, routes, health, metrics, logs."""

__version__ = "0.1.0"
