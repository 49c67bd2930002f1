"""What a release's migrations do to processes of the release before it (CONTRIBUTING.md: expand, contract).

``__main__.py``   `python -m dev.migration_lint`, which `make lint` runs
``settings.py``   the application's, with the linter and on ``base.py``, a MySQL backend without a server
"""
