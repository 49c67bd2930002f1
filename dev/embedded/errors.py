"""What stops the embedded stack. Each message is meant for the person at the terminal."""

from __future__ import annotations


class StackError(Exception):
    """The stack cannot start or go on; the message says why and what mends it."""


class PortTaken(StackError):
    """A port belongs to somebody else."""


class AlreadyRunning(StackError):
    """Another supervisor holds this directory."""


class ServerMissing(StackError):
    """No usable server program was found on this machine."""


class ProcessFailed(StackError):
    """A process ended, or was not ready in time. The message ends with its last lines."""


class StopAsked(Exception):
    """Ctrl-C or a signal came. Nothing went wrong, so it is no StackError."""
