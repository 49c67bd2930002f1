"""The baselines' own Django site: a constant view."""
