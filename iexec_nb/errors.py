"""The whole error tree of iexec_nb, in one place.

Every failure that a user can meet is one of these classes, so that one ``except IExecError`` catches all of them and
each also answers to the built-in that Python users expect (``ValueError``, ``LookupError``, ``ConnectionError``,
``TimeoutError``). The names are those of the official JavaScript SDK where it has one.

::

    IExecError (Exception)
    ├── ConfigurationError (ValueError)            chain, service URL or signer missing or wrong
    ├── ValidationError (ValueError)               an argument or foreign data breaks a rule
    ├── ObjectNotFoundError (LookupError)          no such app, dataset, workerpool, category, deal, task
    ├── ApiCallError (ConnectionError)             a service did not answer as it should
    │   ├── MarketCallError
    │   ├── SmsCallError
    │   ├── IpfsGatewayCallError
    │   ├── CompassCallError
    │   ├── WorkerpoolCallError
    │   └── SubgraphCallError
    ├── Web3ProviderError (ConnectionError)        the node
    │   ├── Web3ProviderCallError                  a read failed or a transaction would revert
    │   ├── Web3ProviderSendError                  a transaction was refused, lost or reverted
    │   └── Web3ProviderSignMessageError           the wallet did not sign
    ├── BridgeError                                the other side of the bridge did not confirm
    ├── OrderMismatchError (ValueError)            orders do not match; all reasons in ``.reasons``
    │   └── OrderConsumedError                     an order is fully consumed or canceled
    ├── InvalidSignatureError (ValueError)         a signature is malformed or of somebody else
    ├── InsufficientFundsError (ValueError)        not enough RLC, stake, allowance or gas
    ├── SecretExistsError (ValueError)             the secret is set and cannot be replaced
    ├── TaskNotCompletedError                      no result yet
    ├── TaskFailedError                            the run failed; ``.stdout`` and ``.stderr`` say why
    ├── TaskTimeoutError (TimeoutError)            the task or the waiting ran out of time
    ├── ResultNotFoundError (LookupError)          the task has no such result or file
    ├── DecryptionError (ValueError)               the key does not fit, or the data is damaged
    ├── UnsafeArchiveError (ValueError)            a zip that would harm the machine; nothing was written
    └── SandboxError (RuntimeError)                the local iExec could not start or run
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

__all__ = [
    "ApiCallError",
    "BridgeError",
    "CompassCallError",
    "ConfigurationError",
    "DecryptionError",
    "IExecError",
    "InsufficientFundsError",
    "InvalidSignatureError",
    "IpfsGatewayCallError",
    "MarketCallError",
    "ObjectNotFoundError",
    "OrderConsumedError",
    "OrderMismatchError",
    "ResultNotFoundError",
    "SandboxError",
    "SecretExistsError",
    "SmsCallError",
    "SubgraphCallError",
    "TaskFailedError",
    "TaskNotCompletedError",
    "TaskTimeoutError",
    "UnsafeArchiveError",
    "ValidationError",
    "Web3ProviderCallError",
    "Web3ProviderError",
    "Web3ProviderSendError",
    "Web3ProviderSignMessageError",
    "WorkerpoolCallError",
]


class IExecError(Exception):
    """Base of all errors of iexec_nb: one sentence, the facts, and what to do next.

    Parameters
    ----------
    message
        One sentence that holds the value as it was given.
    context
        Facts worth reading, printed as ``name: value`` lines; amounts carry their unit.
    hint
        The next thing to type.

    Attributes
    ----------
    fail
        Where several orders were meant and none succeeded: a line for each, as the official CLI's JSON has them.
    done
        What was done, and paid, before it failed: members of the official CLI's JSON.
    """

    fail: Sequence[str] = ()
    done: Mapping[str, Any] = MappingProxyType({})

    def __init__(self, message: str, *, context: Mapping[str, object] | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.context = dict(context or {})
        self.hint = hint

    def __str__(self) -> str:
        lines = [self.message, *(f"  {name}: {value}" for name, value in self.context.items())]
        if self.hint:
            lines.append(f"  hint: {self.hint}")
        return _visible("\n".join(lines))

    def _render_traceback_(self) -> list[str]:
        """Lines that IPython prints instead of a traceback."""
        notes: Sequence[str] = getattr(self, "__notes__", ())
        return [f"{type(self).__name__}: {self}", *notes]


class ConfigurationError(IExecError, ValueError):
    """A chain, a service URL or a signer is missing or wrong."""


class ValidationError(IExecError, ValueError):
    """An argument, or data from outside, breaks a rule."""


class ObjectNotFoundError(IExecError, LookupError):
    """No such object on the chain.

    Parameters
    ----------
    kind
        ``app``, ``dataset``, ``workerpool``, ``category``, ``deal`` or ``task``.
    id
        The address, index or id that was looked for.
    chain_id
        Where it was looked for.
    hint
        The next thing to type.
    """

    def __init__(self, kind: str, id: object, chain_id: int | None, *, hint: str | None = None) -> None:
        super().__init__(f"No {kind} found for id {id} on chain {chain_id}", hint=hint)
        self.kind = kind
        self.id = id
        self.chain_id = chain_id


class ApiCallError(IExecError, ConnectionError):
    """A service did not answer, or not as it should; ``.status`` is the HTTP status where there was one."""

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        context: Mapping[str, object] | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, context=context, hint=hint)
        self.status = status


class MarketCallError(ApiCallError):
    """The market API failed or refused."""


class SmsCallError(ApiCallError):
    """The secret management service failed or refused."""


class IpfsGatewayCallError(ApiCallError):
    """The IPFS gateway or node failed, or sent bytes that are not what the CID names."""


class CompassCallError(ApiCallError):
    """Compass, the registry of workerpool API addresses, failed."""


class WorkerpoolCallError(ApiCallError):
    """A workerpool's scheduler API failed or refused."""


class SubgraphCallError(ApiCallError):
    """A subgraph, an index of the chain, failed or refused."""


class Web3ProviderError(IExecError, ConnectionError):
    """The node (JSON-RPC) failed."""


class Web3ProviderCallError(Web3ProviderError):
    """A read failed, or a transaction would revert; nothing was sent."""


class Web3ProviderSendError(Web3ProviderError):
    """A transaction was refused, reverted or lost; ``.tx_hash`` is set when it may have reached the chain."""

    def __init__(
        self,
        message: str,
        *,
        tx_hash: str | None = None,
        context: Mapping[str, object] | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, context=context, hint=hint)
        self.tx_hash = tx_hash


class Web3ProviderSignMessageError(Web3ProviderError):
    """The wallet refused or failed to sign."""


class BridgeError(IExecError):
    """The other side of the bridge did not confirm a transfer."""


class OrderMismatchError(IExecError, ValueError):
    """Orders do not match; ``.reasons`` holds every reason, not the first one."""

    def __init__(
        self,
        message: str,
        *,
        reasons: Sequence[Any] = (),
        context: Mapping[str, object] | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, context=context, hint=hint)
        self.reasons = tuple(reasons)

    def __str__(self) -> str:
        head, *rest = super().__str__().split("\n")
        lines = [head]
        for reason in self.reasons:
            lines.append(f"  - {getattr(reason, 'message', reason)}")
            if fix := getattr(reason, "fix", ""):
                lines.append(f"    fix: {fix}")
        return "\n".join([*lines, *rest])


class OrderConsumedError(OrderMismatchError):
    """An order is fully consumed or canceled."""


class InvalidSignatureError(IExecError, ValueError):
    """A signature is malformed, or was made by somebody else."""


class InsufficientFundsError(IExecError, ValueError):
    """Not enough RLC, stake, allowance or gas; the amounts are in ``.context``."""


class SecretExistsError(IExecError, ValueError):
    """The secret is set already and cannot be replaced."""


class TaskNotCompletedError(IExecError):
    """The task has no result yet."""


class TaskFailedError(IExecError):
    """The app failed; what it printed is in ``.stdout`` and ``.stderr``."""

    def __init__(
        self,
        message: str,
        *,
        stdout: str = "",
        stderr: str = "",
        exit_code: int | None = None,
        context: Mapping[str, object] | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, context=context, hint=hint)
        self.stdout = stdout
        self.stderr = stderr
        self.exit_code = exit_code


class TaskTimeoutError(IExecError, TimeoutError):
    """The task passed its deadline, or the waiting its limit."""


class ResultNotFoundError(IExecError, LookupError):
    """The task has no result, or the result no such file."""


class DecryptionError(IExecError, ValueError):
    """The key does not fit, or the encrypted data is damaged."""


class UnsafeArchiveError(IExecError, ValueError):
    """An archive that would write outside its folder or exhaust the machine; nothing was written."""


class SandboxError(IExecError, RuntimeError):
    """The local iExec could not start, or a part of it stopped."""


def _visible(text: str) -> str:
    """Return text without characters that move a cursor or turn the direction of writing: names may be a stranger's."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)
