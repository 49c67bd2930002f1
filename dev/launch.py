"""Run a command that must not outlive the process that started it.

    python launch.py PARENT_PID SIGNAL COMMAND [ARGUMENT...]

Linux sends SIGNAL to the command when its parent dies, however it dies. This is a program
of its own, and not a `preexec_fn`, because code between fork and exec can deadlock in a
parent with threads, and test runners and Kafka clients have threads. Standard library only.
"""

from __future__ import annotations

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    parent, signal_number, command = int(arguments[0]), int(arguments[1]), arguments[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal_number, 0, 0, 0)
    if os.getppid() != parent:  # it died before the line above
        sys.exit(1)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        sys.exit(f"cannot run {command[0]}: {error.strerror}")


if __name__ == "__main__":
    main(sys.argv[1:])
