"""The fault suite: a real rush of claims, a fault in its middle, and a judgement.

    python -m dev.faults [--short] [--only NAME ...] [--json FILE] [--list]

Runs on the real services alone, in a folder and on ports of its own. ``cases/`` says what breaks,
``judging.py`` what must hold afterwards. Nothing in production imports this package.
"""
