"""Runs the local chain and ends it when the Python that started it is gone, however it went.

This is a script of its own and imports the standard library only: it stands between the kernel and anvil, holds the
reading end of a pipe whose writing end the kernel has, and reads the end of file that the system sends when the
kernel returns, crashes or is killed with a signal that nobody can catch. Then it also removes the sandbox's folder,
where keys and decrypted datasets may lie.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

GRACE_S = 2.0
SCRATCH = "--scratch="
_SWEEPS = 20


def main(command: Sequence[str]) -> int:
    """Run `command` until it ends, or until standard input does; return its exit code.

    A first word ``--scratch=FOLDER`` names a folder that is removed when standard input has ended.
    """
    scratch = command[0].removeprefix(SCRATCH) if command[0].startswith(SCRATCH) else ""
    command = command[1:] if scratch else command
    orphaned = threading.Event()
    # Safe here although it runs between fork and exec: this process has one thread.
    with_parent = _die_with_parent if sys.platform == "linux" else None
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=with_parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    threading.Thread(target=_end_with_parent, args=(child, orphaned), daemon=True).start()
    code = child.wait()
    if scratch and orphaned.is_set():
        _sweep(scratch)
    # As shells write it: 128 and the number of the signal.
    return code if code >= 0 else 128 - code


def _end_with_parent(child: subprocess.Popen[bytes], orphaned: threading.Event) -> None:
    with contextlib.suppress(OSError):
        while os.read(0, 64):
            pass
    orphaned.set()
    child.terminate()
    try:
        child.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        child.kill()


def _sweep(folder: str) -> None:
    # An app may be writing until its own watchdog has ended it.
    for _ in range(_SWEEPS):
        shutil.rmtree(folder, ignore_errors=True)
        if not os.path.exists(folder):
            return
        time.sleep(GRACE_S / _SWEEPS)


def _die_with_parent() -> None:
    """Ask Linux to kill the child should this watchdog itself be killed."""
    import ctypes

    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
