"""Servers with TLS and passwords, and Redis behind Sentinels or as a cluster: started for the tests that need
them, each in a folder of its own, and stopped with them. ``certificates`` makes what proves who is who."""
