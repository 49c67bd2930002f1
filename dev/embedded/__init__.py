"""The embedded stack: everything `make run` needs, from pip alone.

A supervisor and nothing more. It starts real servers and this project's own commands as
processes; it imports no code of the application, and the application imports none of it.
"""
