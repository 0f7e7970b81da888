"""What the secret service is given for one processing of protected data: values for the app, and a key for the result.

Everything about it is checked and shown before the question and handed over after it, under names that nobody else
uses. Under an idempotency key the names are always the same, so that a cell that is run again asks for the same run.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

from iexec_nb.actions.base import secret_of
from iexec_nb.errors import SecretExistsError, ValidationError
from iexec_nb.protocol import params as request_params
from iexec_nb.protocol.orders import RequestOrder
from iexec_nb.protocol.result_encryption import public_pem_of
from iexec_nb.protocol.secrets import check_secret_value
from iexec_nb.protocol.types import Secret, keccak, shown, uint256

if TYPE_CHECKING:
    from iexec_nb.client import IExec

SecretValues = Mapping[int, Secret]
_NAME_BYTES = 16
_MAX_DIGITS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Handover:
    """Secrets and the key of one processing; `read` checks them, `give` hands them over."""

    client: IExec
    values: Mapping[str, Secret]
    names: Mapping[str, str]
    encrypt_result: bool
    public_pem: str | None

    @classmethod
    def read(
        cls,
        client: IExec,
        secrets: object,
        *,
        encrypt_result: bool,
        pem_private_key: Secret | None,
        key: str | None = None,
    ) -> Self:
        """Return what is to be handed over, checked.

        Parameters
        ----------
        client
            Whose secret service and wallet.
        secrets
            Values by number, or nothing.
        encrypt_result
            Whether the result is encrypted for the wallet.
        pem_private_key
            The key for it; default: the pair of the client's store.
        key
            The idempotency key of the run.

        Raises
        ------
        ValidationError
            When something is malformed; the message holds no secret.
        """
        if pem_private_key is not None and not encrypt_result:
            raise ValidationError(
                "pemPrivateKey can only be provided when encryptResult is true", hint="encrypt_result=True"
            )
        pem = None if pem_private_key is None else public_pem_of(secret_of(pem_private_key, "pem_private_key"))
        values = _values(secrets)
        return cls(
            client=client, values=values, names={number: _name(client, number, key) for number in values},
            encrypt_result=encrypt_result, public_pem=pem,
        )  # fmt: skip

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to hand over."""
        return not self.values and not self.encrypt_result

    @property
    def params(self) -> dict[str, Any]:
        """The params of a request that needs it."""
        found: dict[str, Any] = {"iexec_secrets": dict(self.names)} if self.names else {}
        return found | ({"iexec_result_encryption": True} if self.encrypt_result else {})

    def within(self, order: RequestOrder) -> RequestOrder:
        """Return a request with these params added."""
        return replace(order, params=request_params.dumps(request_params.loads(order.params) | self.params))

    @property
    def question(self) -> str:
        """The lines that are added to the question."""
        lines = []
        if self.values:
            numbers = ", ".join(self.values)
            lines.append(f"\n  gives the secret service your secrets {numbers} for the app, under new names")
        if self.encrypt_result:
            which = "a key of yours" if self.public_pem else "the key pair of your store"
            lines.append(
                f"\n  results of yours are encrypted from now on for {which}, which the secret service is told"
            )
        return "".join(lines)

    def give(self) -> None:
        """Hand it over; what the secret service has already under these names is left.

        Raises
        ------
        SmsCallError
            When the secret service refuses, or does not answer.
        """
        client = self.client
        signer = client.require_signer("push secrets")
        for number, value in self.values.items():
            # The names are nobody else's: what is there was put there by this very run before its kernel died.
            with suppress(SecretExistsError):
                client.sms.push_requester(self.names[number], value, signer)
        if not self.encrypt_result:
            return
        if self.public_pem is None:
            with suppress(SecretExistsError):
                client.result.generate_encryption_keypair()
        client.result.push_encryption_key(self.public_pem, force_update=True)


def _values(given: object) -> dict[str, Secret]:
    if given is None:
        return {}
    if isinstance(given, Secret):
        given = _of_line(given)
    if not isinstance(given, Mapping):
        raise ValidationError(
            "secrets must be an object with numeric keys and string values", hint="secrets={1: Secret(...)}"
        )
    values = {}
    for number, value in given.items():
        position = uint256(number, "secrets")
        if position == 0:
            raise ValidationError(
                f"{shown(number)} is not the number of a secret", hint="number the secrets from 1: {1: Secret(...)}"
            )
        if str(position) in values:
            raise ValidationError(f"there are two secrets {position}", hint="give each a number of its own")
        secret = secret_of(value, f"secrets[{position}]")
        check_secret_value(secret)
        values[str(position)] = secret
    return values


def _of_line(given: Secret) -> dict[str, Secret] | None:
    """Return the secret of a line in a shell, where it may stand as ``1=value``; nothing in here is seen by errors."""
    number, equals, value = given.reveal().partition("=")
    # What stands before the sign may be the secret itself: only what cannot be one may come into a message.
    is_number = number.isascii() and number.isdigit() and len(number) <= _MAX_DIGITS
    return {number: Secret(value)} if equals and is_number else None


def _name(client: IExec, number: str, key: str | None) -> str:
    """Return a name for a secret: random as the SDK's, or what follows from the idempotency key."""
    if key is None:
        return f"0x{client.random_bytes(_NAME_BYTES).hex()}"
    who = client.require_signer("push secrets").address
    return f"0x{keccak(f'{client.network.chain_id}/{who}/{number}/{key}'.encode())[:_NAME_BYTES].hex()}"
