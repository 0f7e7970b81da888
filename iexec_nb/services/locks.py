"""One lock for each wallet and chain, held around nonce, signature and sending.

Two transactions with one nonce are one transaction: the other is lost, or replaces it. Threads are kept apart by a lock
in memory. Programs of one user, such as two notebooks, are kept apart by a byte of a lock file in the user's data
folder, one byte for each wallet; the system frees it when a program dies. Where files cannot be locked (Windows, some
network drives, a home that is read-only), only threads are kept apart.
"""

from __future__ import annotations

import os
import threading
import time
from types import TracebackType

from iexec_nb.errors import Web3ProviderSendError
from iexec_nb.protocol.types import Address, address, keccak

WAIT_S = 60.0
"""Seconds to wait for another program: sending takes a few, however slow the node is."""

_PAUSE_S = 0.01


class SendLock:
    """The lock of one wallet on one chain; `with lock:` holds it."""

    def __init__(self, chain_id: int, account: Address) -> None:
        self._account = account
        self._threads = threading.Lock()
        # A place beyond the end of the file, which stays empty.
        self._place = int.from_bytes(keccak(f"{chain_id}:{account}".encode())[:7], "big")
        self._file = -1

    def __enter__(self) -> None:
        """Wait until no other thread and no other program sends with this wallet.

        Raises
        ------
        Web3ProviderSendError
            When another program does not finish; nothing was sent.
        """
        self._threads.acquire()
        try:
            self._file = _lock_file()
            deadline = time.monotonic() + WAIT_S
            while not self._try_file():
                if time.monotonic() >= deadline:
                    raise Web3ProviderSendError(
                        "another program is sending with this wallet and does not finish; nothing was sent",
                        context={"wallet": self._account, "waited": f"{WAIT_S:g} s"},
                        hint="look for another notebook or shell that uses this wallet",
                    )
                time.sleep(_PAUSE_S)
        except BaseException:
            self._threads.release()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let the next one in."""
        try:
            if self._file >= 0:
                import fcntl

                fcntl.lockf(self._file, fcntl.LOCK_UN, 1, self._place)
        finally:
            self._threads.release()

    def _try_file(self) -> bool:
        if self._file < 0:
            return True
        import fcntl

        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, self._place)
        except (BlockingIOError, PermissionError):
            return False
        except OSError:
            # A drive that knows no locks.
            self._file = -1
        return True


_locks: dict[tuple[int, Address], SendLock] = {}
_guard = threading.Lock()
_file: int | None = None


def send_lock(chain_id: int, account: Address) -> SendLock:
    """Return the lock of one wallet on one chain, always the same one in this process."""
    account = address(account)
    with _guard:
        if (chain_id, account) not in _locks:
            _locks[chain_id, account] = SendLock(chain_id, account)
        return _locks[chain_id, account]


def _lock_file() -> int:
    """Return the file that is locked, or -1 where there can be none.

    It is opened once and never closed: closing any handle of a file frees every lock that the process has on it.
    """
    global _file
    with _guard:
        if _file is None:
            _file = _open()
        return _file


def _open() -> int:
    try:
        import fcntl  # noqa: F401

        from platformdirs import user_data_path

        folder = user_data_path("iexec_nb", appauthor=False)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return os.open(folder / "sending.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except (ImportError, OSError):
        return -1
