"""What a forked child of the kernel has to let go of.

``multiprocessing`` and many libraries fork. The child gets a copy of every open file: of the pipe that keeps the local
chain alive, of the sockets that hold the ports. Kept open there, they would hold both after the kernel ended.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import Protocol


class Held(Protocol):
    """Something with open files that a forked child must not keep."""

    def forget(self) -> None:
        """Close this process's copies of the files without any other effect."""


_held: weakref.WeakSet[Held] = weakref.WeakSet()
_lock = threading.Lock()
_registered = False


def forget_in_children(thing: Held) -> None:
    """Call ``thing.forget()`` in every child that is forked from now on."""
    global _registered
    with _lock:
        # At the first use and not at import: the hook cannot be taken off again.
        if not _registered and hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=_forget_all)
        _registered = True
        _held.add(thing)


def _forget_all() -> None:
    for thing in list(_held):
        thing.forget()
