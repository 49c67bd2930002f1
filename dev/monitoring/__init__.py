"""Holds alerts, runbooks, dashboards and the code's metrics together.

    python -m dev.monitoring lint     each alert has its runbooks and its tests; each metric named is exported
    python -m dev.monitoring test     promtool: the configuration, the rules, and the rules' tests

``make lint`` runs the first, ``make monitoring`` the second.
"""
