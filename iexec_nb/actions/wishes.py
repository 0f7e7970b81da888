"""What somebody wants computed: the arguments of a run, checked, before any order is chosen for it.

A run, a quote, a map over parameters and a request on the market take the same arguments, and a run that is tried a
second time has to be recognized by them. So they are read in one place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from iexec_nb.actions.base import Tags
from iexec_nb.errors import ValidationError
from iexec_nb.protocol import params as request_params
from iexec_nb.protocol import tags
from iexec_nb.protocol.types import NULL_ADDRESS, Address, address, shown, uint256
from iexec_nb.protocol.units import nrlc

_ARGUMENTS = {
    "iexec_args": "args",
    "iexec_input_files": "input_files",
    "iexec_secrets": "secrets",
    "iexec_result_encryption": "encrypt_result",
    "iexec_result_storage_provider": "storage_provider",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """The arguments of a run, checked."""

    app: Address
    requester: Address
    dataset: Address
    workerpool: Address
    category: int | None
    tag: str
    trust: int
    beneficiary: Address
    callback: Address
    params: Mapping[str, Any]
    max_price: int | None
    skip_preflight_check: bool

    @classmethod
    def read(
        cls,
        app: str,
        requester: Address,
        *,
        args: str | None = None,
        dataset: str | None = None,
        workerpool: str | None = None,
        category: int | str | None = None,
        tag: Tags = ("tee", "tdx"),
        trust: int | str = 0,
        input_files: Sequence[str] | None = None,
        secrets: Sequence[str] | Mapping[int, str] | None = None,
        encrypt_result: bool = False,
        storage_provider: str | None = None,
        beneficiary: str | None = None,
        callback: str | None = None,
        params: str | Mapping[str, Any] | None = None,
        max_price: int | str | None = None,
        skip_preflight_check: bool = False,
    ) -> Wishes:
        """Return the checked wishes; the parameters are those of ``app.run``.

        Raises
        ------
        ValidationError
            When an argument is malformed.
        """
        wanted_tag = tags.tag(tag)
        if wrong := tags.check(wanted_tag, agnostic=False, legacy=True):
            raise ValidationError(wrong[0], hint='the tag that today\'s pools offer is "tee,tdx"')
        reader = address(callback, "callback") if callback is not None else NULL_ADDRESS
        given = _params(params)
        extra = {
            "iexec_args": args, "iexec_input_files": _files(input_files),
            "iexec_secrets": _secrets(secrets), "iexec_result_storage_provider": storage_provider,
            "iexec_result_encryption": encrypt_result or None,
        }  # fmt: skip
        given |= {key: value for key, value in extra.items() if value is not None}
        built = request_params.create_params(given, tee=tags.has(wanted_tag, "tee"), callback=reader != NULL_ADDRESS)
        return cls(
            app=address(app, "app"),
            requester=requester,
            dataset=_optional(dataset, "dataset"),
            workerpool=_optional(workerpool, "workerpool"),
            category=None if category is None else uint256(category, "category"),
            tag=wanted_tag,
            trust=uint256(trust, "trust"),
            beneficiary=address(beneficiary, "beneficiary") if beneficiary is not None else requester,
            callback=reader,
            params=built,
            max_price=None if max_price is None else nrlc(max_price, "max_price"),
            skip_preflight_check=skip_preflight_check,
        )

    def with_params(self, params: str | Mapping[str, Any]) -> Wishes:
        """Return the same wishes with some params replaced.

        Parameters
        ----------
        params
            Params by name (``iexec_args``, ``iexec_input_files``...), which take the place of those that are there; or
            text, which is ``iexec_args`` alone.

        Raises
        ------
        ValidationError
            When a name is none of the params, or a value does not fit.
        """
        changes: Mapping[str, Any] = {"iexec_args": params} if isinstance(params, str) else params
        if not isinstance(changes, Mapping):
            raise ValidationError(
                f"{shown(params)} is not a valid params",
                hint='give args as text, or params such as {"iexec_args": "x"}',
            )
        tee, callback = tags.has(self.tag, "tee"), self.callback != NULL_ADDRESS
        # Unknown names are dropped when a request is made: here that would make many runs that are all the same.
        known = request_params.create_params(changes, tee=tee, callback=callback)
        if unknown := [str(name) for name in changes if name not in known]:
            raise ValidationError(
                f'Unknown key "{shown(", ".join(unknown))}" in params', hint='give params such as {"iexec_args": "x"}'
            )
        built = request_params.create_params({**self.params, **changes}, tee=tee, callback=callback)
        return replace(self, params=built)

    @property
    def terms(self) -> dict[str, str]:
        """What is wanted as texts by the names of the arguments: equal texts are the same wish."""
        given = {_ARGUMENTS.get(name, name): request_params.dumps(value) for name, value in self.params.items()}
        return given | {
            "app": self.app,
            "dataset": self.dataset,
            "workerpool": self.workerpool,
            "category": "any" if self.category is None else str(self.category),
            "tag": self.tag,
            "trust": str(self.trust),
            "beneficiary": self.beneficiary,
            "callback": self.callback,
            "max_price": "any" if self.max_price is None else str(self.max_price),
        }


def _optional(value: str | None, name: str) -> Address:
    return NULL_ADDRESS if value is None else address(value, name)


def _params(given: str | Mapping[str, Any] | None) -> dict[str, Any]:
    if given is None or isinstance(given, Mapping):
        return dict(given or {})
    return request_params.loads(given)


def _files(given: str | Sequence[str] | None) -> str | list[str] | None:
    """Return addresses of input files; several in one text are parted by commas, as in the SDK."""
    if not given:
        return None
    if isinstance(given, str):
        return given
    return _texts(given, "input_files", '["https://example.com/a.csv"]')


def _secrets(given: Sequence[str] | Mapping[int, str] | None) -> dict[str, str] | None:
    if not given:
        return None
    if isinstance(given, Mapping):
        return {str(number): name for number, name in given.items()}
    given = [given] if isinstance(given, str) else _texts(given, "secrets", '{1: "api-key"}')
    pairs = [str(item).partition("=") for item in given]
    if wrong := next(
        (item for item, (_, equals, name) in zip(given, pairs, strict=True) if not (equals and name)), None
    ):
        raise ValidationError(
            f"{shown(wrong)} is not a secret mapping", hint="give secrets as number=name, such as 1=api-key"
        )
    return {number: name for number, _, name in pairs}


def _texts(given: object, name: str, example: str) -> list[str]:
    if isinstance(given, list | tuple) and all(isinstance(one, str) for one in given):
        return list(given)
    raise ValidationError(f"{shown(given)} is not a valid {name}", hint=f"give {name} as texts, such as {example}")
