"""What a contract means when it refuses: the bytes of a revert turned into a sentence that names the rule.

PoCo answers with short codes such as ``iExecV5-matchOrders-0x03``; users should not have to look them up. The codes
and their meaning are those of ``IexecPoco1Facet.matchOrders`` and the escrow facets (contracts.md sections 3 and 7).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from iexec_nb.errors import Web3ProviderCallError
from iexec_nb.protocol.types import keccak, shown
from iexec_nb.services.abi import decode_values, split_types

MATCH_PREFIX = "iExecV5-matchOrders-"

MATCH_CODES: Mapping[str, str] = {
    "0x00": "the request order and the workerpool order are of different categories",
    "0x01": "the category does not exist",
    "0x02": "the trust of the workerpool order is lower than the request order asks for",
    "0x03": "the app price is higher than appmaxprice of the request order",
    "0x04": "the dataset price is higher than datasetmaxprice of the request order",
    "0x05": "the workerpool price is higher than workerpoolmaxprice of the request order",
    "0x06": "the workerpool order lacks a tag that the app, dataset or request order asks for",
    "0x07": "the orders ask for a TEE, and the app order has no tee tag",
    "0x10": "the request order is for another app than the app order",
    "0x11": "the request order is for another dataset than the dataset order",
    "0x12": "the request order does not accept this workerpool",
    "0x13": "the app order does not accept this dataset (datasetrestrict)",
    "0x14": "the app order does not accept this workerpool (workerpoolrestrict)",
    "0x15": "the app order does not accept this requester (requesterrestrict)",
    "0x16": "the dataset order does not accept this app (apprestrict)",
    "0x17": "the dataset order does not accept this workerpool (workerpoolrestrict)",
    "0x18": "the dataset order does not accept this requester (requesterrestrict)",
    "0x19": "the workerpool order does not accept this app (apprestrict)",
    "0x1a": "the workerpool order does not accept this dataset (datasetrestrict)",
    "0x1b": "the workerpool order does not accept this requester (requesterrestrict)",
    "0x20": "the app is not registered in the app registry of this hub",
    "0x21": "the app order is not signed by the owner of the app",
    "0x30": "the dataset is not registered in the dataset registry of this hub",
    "0x31": "the dataset order is not signed by the owner of the dataset",
    "0x40": "the workerpool is not registered in the workerpool registry of this hub",
    "0x41": "the workerpool order is not signed by the owner of the workerpool",
    "0x50": "the request order is not signed by the requester",
    "0x60": "at least one of the orders is fully consumed or canceled",
}

_SENTENCES: Mapping[str, str] = {
    "IexecEscrow: Transfer amount exceeds balance": "the account holds too little RLC: deposit more first",
    "IexecEscrow: Transfer from empty address": "the account that pays does not exist",
    "invalid-signature-format": "an order carries a signature that is neither 64 nor 65 bytes long",
    "invalid-sender-or-signature": "only the owner of the resource or the requester may manage this order",
    "invalid-array-length": "the lists differ in length",
    "task-pending": "the task is not completed",
    "Create2: Failed on deploy": "it is deployed already, with exactly these properties and this owner",
    "approval-refused": "the hub refused the tokens",
    "wrong-token": "the hub does not accept this token",
    "failled-transferFrom": "the RLC could not be taken: the balance or the allowance is too low",
    "native-transfer-failed": "the coins could not be sent to the account",
    "fallback-disabled": "the hub does not accept coins or unknown calls",
    "Ownable: caller is not the owner": "only the owner may do this",
    "ERC721: transfer caller is not owner nor approved": "only the owner may transfer this",
}

_ERRORS: Mapping[str, str] = {
    "IncompatibleDatasetOrder(string)": "the dataset order does not fit the deal",
    "UnsupportedOperation(bytes4)": "the hub accepts no other call than matchOrders with a deposit",
    "CallerIsNotTheRequester()": "only the requester may deposit and match in one transaction",
    "OperationFailed()": "the call that came with the deposit failed",
    "FunctionNotFound(bytes4)": "the hub has no such function",
}

_PANICS: Mapping[int, str] = {
    0x01: "an assertion of the contract failed",
    0x11: "a sum or difference leaves the range of the contract's numbers",
    0x12: "the contract divided by zero",
    0x32: "the contract read beyond the end of a list",
}

_BUILT_IN = ("Error(string)", "Panic(uint256)")
_SELECTORS = {keccak(signature.encode())[:4]: signature for signature in (*_ERRORS, *_BUILT_IN)}
_NODE_PREFIX = re.compile(
    r"^(?:rpc error: |VM Exception while processing transaction: )?(?:execution reverted|revert(?:ed)?)\b[:\s]*",
    re.IGNORECASE,
)


def revert_reason(data: bytes, message: str = "") -> str:
    """Return why a contract reverted, as one sentence.

    Parameters
    ----------
    data
        The return data of the failed call: ``Error(string)``, ``Panic(uint256)``, a custom error, or nothing.
    message
        What the node said; used where `data` says nothing.
    """
    signature = _SELECTORS.get(data[:4])
    if signature is None:
        text = _NODE_PREFIX.sub("", message).strip().strip("\"'")
        if text and not text.startswith("0x"):
            return explain(text)
        unknown = f", error {shown('0x' + data.hex(), 74)}" if data else ""
        return f"the contract refused without a reason{unknown}"
    try:
        values = decode_values(split_types(signature.partition("(")[2][:-1]), data[4:], signature)
    except Web3ProviderCallError:
        return f"the contract refused with a malformed {signature}"
    if signature == "Error(string)":
        return explain(values[0])
    if signature == "Panic(uint256)":
        return _PANICS.get(values[0], f"the contract panicked with code {values[0]:#x}")
    detail = ": ".join(shown(value, 120) for value in values if isinstance(value, str))
    return f"{_ERRORS[signature]}{': ' + detail if detail else ''} ({signature.partition('(')[0]})"


def explain(reason: str) -> str:
    """Return the sentence for a revert string of PoCo, with the string itself; an unknown one as it is."""
    reason = shown(reason, 200)
    code = reason.removeprefix(MATCH_PREFIX)
    sentence = MATCH_CODES.get(code) if code != reason else _SENTENCES.get(reason)
    return f"{sentence} ({reason})" if sentence else reason
