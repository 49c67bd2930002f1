"""The benchmark: every figure of the system beside a baseline that was measured in the same run.

    python -m dev.bench [--short] [--only NAME ...] [--before DIR] [--floors] [--json FILE] [--list]

On the real services, in a folder and on ports of its own, with gunicorn and the consumer as shipped.
``targets.py`` says what a ratio must reach, ``measurements/`` how each is taken. Nothing in production
imports this package.
"""
