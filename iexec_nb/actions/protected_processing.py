"""The verbs that process protected data: find the orders, hand over secrets and keys, match, and fetch the result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from iexec_nb.actions.base import Amount, Noun
from iexec_nb.actions.once import Once
from iexec_nb.actions.outcome import Result
from iexec_nb.actions.plan import Planner
from iexec_nb.actions.protected_handover import Handover, SecretValues
from iexec_nb.actions.protected_making import address_of, step
from iexec_nb.actions.run import Run
from iexec_nb.actions.search import Find, Wanted, cheapest, serving
from iexec_nb.actions.watch import last_of, seconds, watch
from iexec_nb.actions.wishes import Wishes
from iexec_nb.commands import command
from iexec_nb.errors import OrderMismatchError, ResultNotFoundError, TaskTimeoutError, ValidationError
from iexec_nb.protocol.orders import PublishedOrder
from iexec_nb.protocol.protected_records import Protected, TaskEnd
from iexec_nb.protocol.types import NULL_ADDRESS, Address, Bytes32, Secret, address, bytes32, shown
from iexec_nb.protocol.units import nrlc
from iexec_nb.services import dataprotector

if TYPE_CHECKING:
    from iexec_nb.actions.result_file import ResultFile
    from iexec_nb.client import IExec


class ProtectedProcessing(Noun):
    """The verbs of one task."""

    @command(
        "protected-data process 0x0123456789012345678901234567890123456789 "
        "--app 0x1234567890123456789012345678901234567890",
        spends=True,
        raw=lambda run: {"txHash": run.txHash, "dealId": run.dealid, "taskId": run.taskids[0]},
        js=("dataProtectorCore.processProtectedData",),
    )
    def process(
        self,
        protected_data: str | Protected,
        /,
        *,
        app: str,
        user_whitelist: str | None = None,
        data_max_price: Amount = 0,
        app_max_price: Amount = 0,
        workerpool_max_price: Amount = 0,
        args: str | None = None,
        input_files: Sequence[str] | None = None,
        secrets: SecretValues | None = None,
        workerpool: str | None = None,
        category: int | str = 0,
        encrypt_result: bool = False,
        pem_private_key: Secret | None = None,
        idempotency_key: str | None = None,
        skip_preflight_check: bool = False,
    ) -> Run:
        """Run an app on protected data that it was granted for, and return the handle of the run.

        The cheapest orders that fit are taken, none above its limit. The price is shown and asked for before anything
        is signed or handed over.

        Parameters
        ----------
        protected_data
            Its address.
        app
            The app's address.
        user_whitelist
            A whitelist contract (ERC-734) that the access was granted to, of which the wallet is a member.
        data_max_price, app_max_price, workerpool_max_price
            The most that is paid to each, in nRLC or with a unit; default: nothing.
        args
            What the app is told.
        input_files
            Addresses of files for the app.
        secrets
            Values for the app by number: ``{1: Secret(...)}``; it reads them in ``IEXEC_REQUESTER_SECRET_1``.
        workerpool
            Where; default: the chain's pool for protected data, else any. The zero address means any.
        category
            The size of the computation.
        encrypt_result
            Encrypt the result for the wallet, with the key pair of the client's store (made where there is none).
        pem_private_key
            Another private key (PEM) to encrypt for; give it to `result` to read the result.
        idempotency_key
            A name for this run: the cell may be run again, also after its kernel died, and is paid once. Secrets that
            were handed over under it before are left as they are.
        skip_preflight_check
            Do not ask the secret service whether the run could work.

        Returns
        -------
        Run
            ``run.wait()``, ``run.result()``, ``run.dealid``, ``run.taskids``, ``run.txHash``.

        Raises
        ------
        ValidationError
            When an argument is malformed, or the wallet is not in the whitelist.
        OrderMismatchError
            When there is no order at that price; ``.reasons`` says what there is.
        InsufficientFundsError
            When the account's stake does not cover the price.
        ObjectNotFoundError
            When the app, the data or the pool does not exist.

        Source
        ------
        ``processProtectedData`` of ``@iexec/dataprotector``.
        """
        limits = {
            "dataset": nrlc(data_max_price, "dataMaxPrice"), "app": nrlc(app_max_price, "appMaxPrice"),
            "workerpool": nrlc(workerpool_max_price, "workerpoolMaxPrice"),
        }  # fmt: skip
        group = None if user_whitelist is None else address(user_whitelist, "userWhitelist")
        handover = Handover.read(
            self._client, secrets, encrypt_result=encrypt_result, pem_private_key=pem_private_key, key=idempotency_key
        )
        plain = Wishes.read(
            app, self._signer("process protected data").address, dataset=address_of(protected_data), args=args,
            input_files=input_files, workerpool=pool_of(self._client, workerpool), category=category,
            skip_preflight_check=skip_preflight_check,
        )  # fmt: skip
        digest = f"{limits['dataset']}/{limits['app']}/{limits['workerpool']}/{group or ''}"
        if idempotency_key is not None:
            wishes = plain if handover.is_empty else plain.with_params(handover.params)
            if (run := Once(self._client, wishes, idempotency_key, digest=digest).found()) is not None:
                return run
        with step("Failed to process protected data"):
            self._check_member(group)
            plan = Planner(self._client, plain, finder(limits, group)).plan()
            if handover.is_empty:
                return plan.execute(idempotency_key=idempotency_key, digest=digest)
            shown_plan = replace(plan, requestorder=handover.within(plan.requestorder))
            self._client.approve_secret("secrets for an app")
            self._client.approve(f"{shown_plan}{handover.question}")
            handover.give()
            final = plan.with_params(handover.params)
            return final.execute(approved=True, idempotency_key=idempotency_key, digest=digest)

    @command(
        "protected-data wait 0x0123456789012345678901234567890123456789012345678901234567890123 "
        "--dealid 0x1234567890123456789012345678901234567890123456789012345678901234",
        raw=TaskEnd.to_json,
        js=("dataProtectorCore.waitForTaskCompletion",),
    )
    def wait(self, taskid: str, /, *, dealid: str | None = None, timeout_s: float | None = None) -> TaskEnd:
        """Wait until a task is over, however it ends, and return how.

        Parameters
        ----------
        taskid
            The task.
        dealid
            Its deal: needed for a task that its scheduler has not initialized yet.
        timeout_s
            Give up waiting after this many seconds; default: wait until the deal's deadline.

        Returns
        -------
        TaskEnd
            ``status`` (``COMPLETED``, ``FAILED`` or ``TIMEOUT``) and ``success``.

        Raises
        ------
        ObjectNotFoundError
            When there is no such task.
        TaskTimeoutError
            When the waiting passed its limit.

        Source
        ------
        Contract functions ``viewTask`` and ``viewDeal``.
        """
        task = task_id(taskid)
        limit = seconds(timeout_s)
        if dealid is None:
            dealid = self._chain.task(task).dealid
        deal = self._chain.deal(task_id(dealid, "dealId"))
        self._chain.deal_tasks(deal, [task])
        again = f"iexec.protected_data.wait({task!r}, dealid={deal.dealid!r})"
        last = last_of(watch(self._client, deal, [task], timeout_s=limit), again)
        if not last.done:
            raise TaskTimeoutError(f"task {task} is not over after {limit:g} s", hint=f"go on waiting: {again}")
        return TaskEnd(taskid=task, status=last.phase.upper(), success=last.phase == "completed")

    @command(
        "protected-data result 0x0123456789012345678901234567890123456789012345678901234567890123 result.txt",
        js=("dataProtectorCore.getResultFromCompletedTask",),
    )
    def result(
        self, taskid: str, path: str | None = None, /, *, pem_private_key: Secret | None = None
    ) -> Result | ResultFile:
        """Return the result of a completed task, decrypted where it is encrypted, or one file of it.

        Parameters
        ----------
        taskid
            The task.
        path
            The name of a file in the result; default: all of them.
        pem_private_key
            The beneficiary's private key (PEM); default: the one in the client's store.

        Returns
        -------
        Result or ResultFile
            ``result["out.csv"].table()``; of a file ``.bytes``, ``.text()``, ``.json()``.

        Raises
        ------
        TaskNotCompletedError
            When the task is not completed.
        ResultNotFoundError
            When the task has no result, or the result no such file.
        DecryptionError
            When the key does not fit.
        ValidationError
            When the task's id is none.

        Source
        ------
        ``getResultFromCompletedTask`` of ``@iexec/dataprotector``.
        """
        found = self._client.result.fetch(task_id(taskid), key=pem_private_key)
        return found if path is None else file_in(found, path)

    def _check_member(self, group: Address | None) -> None:
        if group is None:
            return
        if not dataprotector.is_whitelist(self._chain, group):
            raise ValidationError(
                "userWhitelist is not a valid whitelist contract, the contract must implement the ERC734 interface",
                context={"userWhitelist": group},
                hint="give the address of the whitelist that the access was granted to",
            )
        who = self._signer("process protected data").address
        if not self._chain.group_member(group, who):
            raise ValidationError(
                "As a user, you are not in the whitelist. You can't access the protectedData so you can't process it.",
                context={"userWhitelist": group, "wallet": who},
                hint="ask the owner of the whitelist to add the wallet",
            )


def pool_of(client: IExec, given: str | None) -> Address | None:
    """Return the pool that is meant, or None for any: that of the chain for protected data unless one is given.

    Raises
    ------
    ValidationError
        When it is no address.
    """
    if given is None:
        return client.network.dataprotector_workerpool
    where = address(given, "workerpool")
    return None if where == NULL_ADDRESS else where


def task_id(given: object, name: str = "taskId") -> Bytes32:
    """Return the id of a task, or of a deal.

    Raises
    ------
    ValidationError
        In the words of the SDK.
    """
    try:
        return bytes32(given, name)
    except ValidationError as error:
        raise ValidationError(
            f"{name} must be a valid iExec task ID", context={"given": shown(given)}, hint=error.hint
        ) from error


def file_in(result: Result, path: object) -> ResultFile:
    """Return one file of a result.

    Raises
    ------
    ValidationError
        When the path is no text.
    ResultNotFoundError
        When there is no such file.
    """
    if not isinstance(path, str):
        raise ValidationError("path should be a string", context={"given": shown(path)}, hint='path="result.txt"')
    try:
        return result[path]
    except ResultNotFoundError as error:
        error.message = f'No "{shown(path)}" file found in decrypted zip'
        raise


def finder(limits: Mapping[str, int], group: Address | None = None) -> Find:
    """Return how a counter order is found that costs no more than its limit.

    An access may be for a group: of users, of which the wallet is a member, or of apps. The market knows no groups, so
    they are asked for by their own address, or with all apps.

    Parameters
    ----------
    limits
        The most that is paid to ``app``, ``dataset`` and ``workerpool``, in nRLC.
    group
        The whitelist contract of users.
    """

    def find(client: IExec, kind: str, wanted: Wanted, filters: Mapping[str, Any]) -> PublishedOrder:
        within = replace(wanted, max_price=limits[kind])
        tries = [dict(filters)]
        if group is not None and kind != "app":
            tries.append({**filters, "requester": group})
        if kind == "dataset":
            tries += [{**one, "app": "any"} for one in tries]
        for one in tries[:-1]:
            if (found := next(serving(client, kind, within, one), None)) is not None:
                return found.published
        try:
            return cheapest(client, kind, within, tries[-1])
        except OrderMismatchError as error:
            error.message = f"No {kind.capitalize()} order found for the desired price: {error.message}"
            name = "data_max_price" if kind == "dataset" else f"{kind}_max_price"
            error.hint = error.hint and error.hint.replace("max_price", name)
            raise

    return find
