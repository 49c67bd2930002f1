"""Servers with TLS and logins, and Redis behind Sentinels or as a cluster.

They are started here for the tests that need them, each in a folder of its own; ``certificates`` makes what
proves who is who.
"""
