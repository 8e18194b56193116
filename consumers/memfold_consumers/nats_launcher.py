"""Becomes the nats-server: runs in the fresh child, before the server's program replaces it.

Run by path, isolated and without site-packages. It does what ``preexec_fn`` could do, without
running Python in a fork of a process that has threads. Arguments: the parent's process id, the
inherited lock's descriptor, the server's program, the server's arguments.
"""

from __future__ import annotations

import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Tie this process's life to its parent's, write its id into the lock file, run the server."""
    parent, descriptor, program, *arguments = sys.argv[1:]
    if sys.platform == "linux":
        _end_with_parent()
    # The parent may have died before the kernel was told: then nobody would end this process.
    if os.getppid() != int(parent):
        sys.exit("the engine has gone")
    # The process id survives exec. Written here, it is there before the server can hold the lock
    # without a parent that knows it.
    os.pwrite(int(descriptor), str(os.getpid()).encode(), 0)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and exec would keep that.
    os.execv(program, [program, *arguments])  # noqa: S606 - no shell is wanted here.


def _end_with_parent() -> None:
    """Ask Linux for SIGTERM when the thread that started this process ends; exec keeps that."""
    try:
        import ctypes
    except ImportError:
        return  # A Python without libffi: the next engine then ends the server by its lock.
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0) != 0:
        sys.exit(f"prctl failed: {os.strerror(ctypes.get_errno())}")


if __name__ == "__main__":
    main()
