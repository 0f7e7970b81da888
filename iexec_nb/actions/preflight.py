"""What would make a run fail later, asked before anything is signed: the checks that the SDK calls preflight.

The secret service is asked whether the secrets that a run needs are there. All that is missing is said at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from iexec_nb.errors import ValidationError
from iexec_nb.protocol import params as request_params
from iexec_nb.protocol import secrets, tags
from iexec_nb.protocol.orders import AppOrder, DatasetOrder, Order, RequestOrder
from iexec_nb.protocol.resources import mrenclave_framework
from iexec_nb.protocol.types import NULL_ADDRESS, Address, Bytes32

if TYPE_CHECKING:
    from iexec_nb.client import IExec

SKIP = "or skip this check with skip_preflight_check=True (--skip-preflight-check)"


def check_order(client: IExec, order: Order) -> None:
    """Check one order before it is signed or published.

    Raises
    ------
    ValidationError
        With everything that is missing.
    """
    if isinstance(order, RequestOrder):
        found = request_problems(client, order)
    elif isinstance(order, AppOrder):
        found = app_problems(client, order.app, order.tag)
    elif isinstance(order, DatasetOrder):
        found = dataset_problems(client, order.dataset) if tags.has(order.tag, "tee") else []
    else:
        found = []
    refuse(order.kind.capitalize(), found)


def refuse(what: str, problems: list[tuple[str, str]]) -> None:
    """Raise when there are problems, given as pairs of message and hint.

    Raises
    ------
    ValidationError
        With every message; the hint is the first problem's.
    """
    if not problems:
        return
    messages = " ".join(message for message, _ in problems)
    raise ValidationError(f"{what} requirements check failed: {messages}", hint=f"{problems[0][1]}; {SKIP}")


def request_problems(client: IExec, order: RequestOrder) -> list[tuple[str, str]]:
    """Return what a request order lacks: result key, storage token, dataset key, requester secrets."""
    tee = tags.has(order.tag, "tee")
    params = request_params.check_params(order.params, tee=tee, callback=order.callback != NULL_ADDRESS)
    sms = client.sms
    found = []
    if params.get("iexec_result_encryption") and not sms.has_web2(order.beneficiary, secrets.RESULT_KEY_NAME):
        message = "Beneficiary result encryption key is not set in the SMS. Result encryption will fail."
        found.append((message, "result.generate_encryption_keypair() and result.push_encryption_key()"))
    if params.get("iexec_result_storage_provider") == "dropbox" and not sms.has_web2(
        order.requester, secrets.DROPBOX_TOKEN_NAME
    ):
        message = 'Requester storage token is not set for selected provider "dropbox". Result archive upload will fail.'
        found.append((message, 'storage.init("dropbox"), or use ipfs as the storage provider'))
    if tee and order.dataset != NULL_ADDRESS:
        found += dataset_problems(client, order.dataset)
    for name in (params.get("iexec_secrets") or {}).values():
        if not sms.has_requester(order.requester, name):
            message = (
                f'Requester secret "{name}" is not set for requester {order.requester} in the SMS. '
                "Requester secret provisioning will fail."
            )
            found.append((message, f"requester.push_secret({name!r})"))
    return found


def dataset_problems(client: IExec, dataset: Address) -> list[tuple[str, str]]:
    """Return what a dataset lacks: its key in the secret service."""
    if dataset == NULL_ADDRESS or client.sms.has_web3(dataset):
        return []
    message = f"Dataset encryption key is not set for dataset {dataset} in the SMS. Dataset decryption will fail."
    return [(message, f"dataset.push_secret({dataset!r})")]


def app_problems(client: IExec, app: Address, tag: Bytes32 | None = None) -> list[tuple[str, str]]:
    """Return what makes an app unfit for the enclaves of its chain.

    On a live chain that is a measurement of a retired framework; on the chains of SDK 5 to 8 a framework that is not
    that of the `tag` with which it runs.
    """
    mrenclave = client.chain.app(app).appMREnclave
    if client.require_tdx:
        retired = f"App {app} has an MREnclave, which is no longer supported"
        return [(retired, "deploy the app again without mrenclave")] if mrenclave else []
    if tag is None:
        return []
    made_for = mrenclave_framework(mrenclave)
    wanted = next((name for name in ("scone", "tdx", "gramine") if tags.has(tag, name)), None)
    if made_for == wanted or (wanted is None and made_for == "tdx"):
        return []
    return [
        (
            "Tag mismatch the TEE framework specified by app",
            f"the app {app} is made for {made_for or 'an unknown framework'}, the tag says {wanted or 'none'}",
        )
    ]
