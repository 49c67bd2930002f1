"""The baselines' own Django sites: a constant view, and a constant view of Django REST framework."""
