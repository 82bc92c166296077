"""A program that becomes another program, which gets SIGTERM when its parent dies (on Linux only).

    python -I -S die_with_parent.py PARENT_PID COMMAND ...

It is a file of its own because it runs as a script: so only the standard library is loaded, and a
child starts within milliseconds.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # prctl(2)


def main() -> None:
    """Ask for the signal, check that the parent has not died before, become the command."""
    parent = int(sys.argv[1])
    command = sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            sys.exit(1)
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
