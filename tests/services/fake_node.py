"""A node that a test scripts: it answers JSON-RPC from a table, can lose answers, and remembers what it was asked."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import httpx

from iexec_nb.protocol.types import keccak
from iexec_nb.services.rpc import Rpc

CHAIN_ID = 1234
BLOCK = {"number": "0x10", "timestamp": "0x65000000", "gasLimit": "0x1c9c380", "baseFeePerGas": "0x3b9aca00"}


class NodeError(Exception):
    """What a handler raises to answer with a JSON-RPC error."""

    def __init__(self, code: int, message: str, data: object = None) -> None:
        super().__init__(message)
        self.body = {"code": code, "message": message, **({} if data is None else {"data": data})}


class FakeNode:
    """Knows a small chain on which every transaction is mined at once; `answers` replaces methods."""

    def __init__(self, **answers: Any) -> None:
        self.answers: dict[str, Any] = {
            "eth_chainId": hex(CHAIN_ID),
            "eth_blockNumber": lambda: BLOCK["number"],
            "eth_getBlockByNumber": lambda *_: BLOCK,
            "eth_gasPrice": "0x77359400",
            "eth_maxPriorityFeePerGas": "0x3b9aca00",
            "eth_getBalance": hex(10**18),
            "eth_call": "0x",
            "eth_estimateGas": "0x5208",
            "eth_getTransactionCount": lambda *_: hex(len(self.mined)),
            "eth_sendRawTransaction": self.mine,
            "eth_getTransactionByHash": lambda tx: {"hash": tx} if tx in self.mined else None,
            "eth_getTransactionReceipt": self.receipt,
        } | answers
        self.mined: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.posts = 0
        self.edit: Callable[[Any], Any] = lambda reply: reply
        self.status = 200

    def mine(self, raw: str) -> str:
        body = bytes.fromhex(raw[2:])
        tx_hash = "0x" + keccak(body).hex()
        self.mined[tx_hash] = body
        return tx_hash

    def receipt(self, tx_hash: str) -> dict[str, Any] | None:
        if tx_hash not in self.mined:
            return None
        return {"transactionHash": tx_hash, "blockNumber": "0x10", "status": "0x1", "gasUsed": "0x5208", "logs": []}

    def handle(self, request: httpx.Request) -> httpx.Response:
        self.posts += 1
        body = json.loads(request.content)
        reply = [self._answer(one) for one in body] if isinstance(body, list) else self._answer(body)
        return httpx.Response(self.status, content=json.dumps(self.edit(reply)).encode())

    def rpc(self, **options: Any) -> Rpc:
        return Rpc("https://node.example/v3/KEY", transport=httpx.MockTransport(self.handle), **options)

    def _answer(self, call: Mapping[str, Any]) -> dict[str, Any]:
        self.asked.append(call["method"])
        envelope = {"jsonrpc": "2.0", "id": call["id"]}
        answer = self.answers.get(call["method"], NodeError(-32601, "the method does not exist"))
        try:
            result = answer(*call["params"]) if callable(answer) else answer
            if isinstance(result, NodeError):
                raise result
        except NodeError as error:
            return {**envelope, "error": error.body}
        return {**envelope, "result": result}
