"""What every process needs, knowing nothing of coupons: configuration, logs, metrics, health, greenlets."""

__version__ = "0.1.0"
