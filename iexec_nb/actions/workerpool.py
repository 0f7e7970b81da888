"""The noun ``workerpool``: who computes."""

from __future__ import annotations

from iexec_nb.actions.base import text_of
from iexec_nb.actions.entries import Registered
from iexec_nb.commands import command, noun
from iexec_nb.protocol.receipts import Deployed
from iexec_nb.protocol.resources import Workerpool


@noun("workerpool")
class WorkerpoolActions(Registered):
    """Workerpools: who computes, and under which policy."""

    kind = "workerpool"

    @command('workerpool deploy --description "my pool"', spends=True)
    def deploy(self, *, description: str, owner: str | None = None) -> Deployed:
        """Deploy a workerpool and return its address.

        Parameters
        ----------
        description
            What people read about it.
        owner
            Who owns it; default: the client's wallet.

        Returns
        -------
        Deployed
            ``address`` and ``txHash``.

        Raises
        ------
        ValidationError
            When the same workerpool is deployed already.

        Source
        ------
        Contract function ``createWorkerpool`` of the WorkerpoolRegistry.
        """
        return self._deploy(description, owner, text_of(description, "description"))

    @command("workerpool show 0x0123456789012345678901234567890123456789")
    def show(self, workerpool: str | int, /, *, user: str | None = None) -> Workerpool:
        """Return a workerpool; its policies are percentages.

        Parameters
        ----------
        workerpool
            Its address, or its number among those of `user`.
        user
            Whose, with a number; default: the client's wallet.

        Returns
        -------
        Workerpool
            ``address owner registry workerpoolDescription workerStakeRatioPolicy schedulerRewardRatioPolicy``.

        Raises
        ------
        ObjectNotFoundError
            When there is no such workerpool.

        Source
        ------
        Contract ``Workerpool``.
        """
        return self._chain.workerpool(self._address(workerpool, user))
