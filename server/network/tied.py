"""Run a command that dies with the process that started it: `python -m medquorum.server.network.tied COMMAND …`.

A coordinator that is killed must not leave a SuperLink behind that goes on holding the run. Linux sends the signal to
this process when its parent ends (prctl(2), PR_SET_PDEATHSIG), and the setting survives the exec.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def tie() -> None:
    """Let this process be killed when its parent ends."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if os.getppid() == 1:  # the parent ended before the call
        sys.exit(1)


def main() -> None:
    """Tie this process to its parent and become the command in the arguments."""
    tie()
    os.execvp(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
