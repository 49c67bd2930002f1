"""The fault suite: a real rush of claims, a fault in its middle, and a judgement.

    python -m dev.faults [--short] [--clusters [PART ...]] [--only NAME ...] [--json FILE] [--list]

Runs on the real services alone, in a folder and on ports of its own; with ``--clusters`` on those of
``dev/clusters``, each choice of parts in a process of its own (``clustered.py``). ``cases/`` says what
breaks, ``judging.py`` what must hold afterwards. Nothing in production imports this package.
"""
