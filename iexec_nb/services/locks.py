"""Locks among threads and programs: one for each wallet around nonce, signature and sending, one for each named run.

Two transactions with one nonce are one transaction: the other is lost, or replaces it. Two programs that begin the same
run would both ask, and both plan. Threads are kept apart by a lock in memory. Programs of one user, such as two
notebooks, are kept apart by a byte of a lock file in the user's data folder, one byte for each name; the system frees
it when a program dies. Where files cannot be locked (Windows, some network drives, a home that is read-only), only
threads are kept apart.
"""

from __future__ import annotations

import os
import threading
import time
from abc import ABC, abstractmethod
from types import TracebackType

from iexec_nb.errors import ConfigurationError, IExecError, Web3ProviderSendError
from iexec_nb.protocol.types import Address, address, keccak, shown

WAIT_S = 60.0
"""Seconds to wait for another program: sending takes a few, however slow the node is."""

_PAUSE_S = 0.01


class _Lock(ABC):
    """The lock of one name; `with lock:` holds it."""

    def __init__(self, name: str) -> None:
        self._threads = threading.Lock()
        # A place beyond the end of the file, which stays empty.
        self._place = int.from_bytes(keccak(name.encode("utf-8", "surrogatepass"))[:7], "big")
        self._file = -1

    @abstractmethod
    def _busy(self) -> IExecError:
        """Return the error for another program that does not finish."""

    def __enter__(self) -> None:
        """Wait until no other thread and no other program is inside.

        Raises
        ------
        IExecError
            When another program does not finish; nothing was sent.
        """
        self._threads.acquire()
        try:
            self._file = _lock_file()
            deadline = time.monotonic() + WAIT_S
            while not self._try_file():
                if time.monotonic() >= deadline:
                    raise self._busy()
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


class SendLock(_Lock):
    """The lock of one wallet on one chain; `with lock:` holds it."""

    def __init__(self, chain_id: int, account: Address) -> None:
        super().__init__(f"{chain_id}:{account}")
        self._account = account

    def _busy(self) -> IExecError:
        return Web3ProviderSendError(
            "another program is sending with this wallet and does not finish; nothing was sent",
            context={"wallet": self._account, "waited": f"{WAIT_S:g} s"},
            hint="look for another notebook or shell that uses this wallet",
        )


class RunLock(_Lock):
    """The lock of one run of one wallet on one chain, by the name that the run was given."""

    def __init__(self, chain_id: int, account: Address, key: str) -> None:
        super().__init__(f"run:{chain_id}:{account}:{key}")
        self._key = key

    def _busy(self) -> IExecError:
        return ConfigurationError(
            f"another program is at work on the run {shown(self._key)!r} and does not finish; nothing was sent",
            context={"waited": f"{WAIT_S:g} s"},
            hint="look for another notebook or shell that asks about it; then run it again: it is never paid twice",
        )


_locks: dict[tuple[int, Address], SendLock] = {}
_runs: dict[tuple[int, Address, str], RunLock] = {}
_guard = threading.Lock()
_file: int | None = None


def send_lock(chain_id: int, account: Address) -> SendLock:
    """Return the lock of one wallet on one chain, always the same one in this process."""
    account = address(account)
    with _guard:
        if (chain_id, account) not in _locks:
            _locks[chain_id, account] = SendLock(chain_id, account)
        return _locks[chain_id, account]


def run_lock(chain_id: int, account: Address, key: str) -> RunLock:
    """Return the lock of the run that a wallet began on a chain under this name, always the same one here."""
    account = address(account)
    with _guard:
        return _runs.setdefault((chain_id, account, key), RunLock(chain_id, account, key))


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
