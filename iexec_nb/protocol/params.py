"""Request params: the JSON text in a request order that tells a worker what to run.

The text is hashed and signed byte for byte, so two SDKs agree on an order only if they write the same JSON: the key
order, the escapes and the number formats here are those of JavaScript's ``JSON.stringify``, and the defaults those of
SDK 9.0.1 (``createObjParams``).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any, NoReturn

from iexec_nb.errors import ValidationError
from iexec_nb.protocol.cid import Cid
from iexec_nb.protocol.types import shown

IPFS = "ipfs"
DROPBOX = "dropbox"
STORAGE_PROVIDERS = (DROPBOX, IPFS)

_ESCAPE = re.compile(r'["\\\x00-\x1f\ud800-\udfff]')
_SHORT_ESCAPES = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_ARRAY_INDEX = re.compile(r"0|[1-9][0-9]{0,9}")
_SECRET_KEY = re.compile(r"[1-9][0-9]*")
_STRINGS = re.compile(r'"(?:[^"\\]|\\.)*"')
_BRACKETS = re.compile(r"[][{}]")
_MAX_DEPTH = 100
_URL = re.compile(r"https?://")
_CID = re.compile(r"(?:Qm|z)[1-9A-HJ-NP-Za-km-z]+|b[a-z2-7]+")


def create_params(value: str | Mapping[str, Any] | None, *, tee: bool, callback: bool) -> dict[str, Any]:
    """Return the params of a new request order, as SDK 9.0.1 builds them (``createObjParams``).

    Values are converted to the type of their key, unknown keys are dropped and the storage provider is filled in. When
    that changes nothing the order of the keys is kept, otherwise the keys stand in the SDK's order.

    Parameters
    ----------
    value
        A mapping, its JSON text, any other text (which becomes ``iexec_args``), or nothing.
    tee
        Whether the order's tag asks for a trusted execution environment.
    callback
        Whether the order has a callback contract; then no storage provider is needed.

    Raises
    ------
    ValidationError
        When a value does not fit its key, with the text of the JavaScript SDK.

    Examples
    --------
    >>> create_params({"iexec_args": "hello"}, tee=True, callback=False)
    {'iexec_result_storage_provider': 'ipfs', 'iexec_args': 'hello'}
    """
    given = _given(value)
    built: dict[str, Any] = {}
    for key, cast in _CASTS.items():
        if key in given:
            built[key] = cast(given[key])
        elif key == "iexec_result_storage_provider" and not callback:
            built[key] = IPFS
    _check(built, tee=tee, callback=callback)
    unchanged = built.keys() == given.keys() and all(_same(built[key], given[key]) for key in built)
    return {key: built[key] for key in given} if unchanged else built


def check_params(value: str | Mapping[str, Any], *, tee: bool, callback: bool) -> dict[str, Any]:
    """Return the params of a finished request order after the strict check that the SDK makes before signing.

    Nothing is converted or filled in: the text is already part of what is signed.

    Raises
    ------
    ValidationError
        For an unknown key, a missing storage provider or a value of the wrong type.
    """
    given = _object(value) if value is None else _given(value)
    unknown = [key for key in given if key not in _CASTS]
    if unknown:
        close = get_close_matches(unknown[0], _CASTS, 1)
        raise ValidationError(
            f'Unknown key "{shown(", ".join(unknown))}" in params',
            hint=f"did you mean {close[0]}?" if close else f"the keys are {', '.join(_CASTS)}",
        )
    _check(given, tee=tee, callback=callback)
    return given


def loads(text: str) -> dict[str, Any]:
    """Return the object in a JSON text of params.

    Raises
    ------
    ValidationError
        When the text is not JSON, or not an object.
    """
    return _object(parse(text))


def parse(text: str) -> Any:
    """Return the value of a JSON text as JavaScript reads it: no ``NaN``, no ``Infinity``.

    Whole numbers keep all their digits, where JavaScript rounds above 2**53. Text that is not Unicode (a raw half of
    a surrogate pair) is refused: it has no bytes that could be signed.

    Raises
    ------
    ValidationError
        When the text is not JSON.
    """
    try:
        return _parsed(text.encode().decode())
    except (ValueError, AttributeError):
        raise ValidationError(
            f"{shown(text)} is not a valid params, must be a json",
            hint='give params as a dict, such as {"iexec_args": "hello"}, or as its JSON text',
        ) from None


def _parsed(text: str) -> Any:
    _check_depth(text)
    return json.loads(text, parse_constant=_no_constant)


def dumps(obj: object) -> str:
    """Return the JSON text that ``JSON.stringify`` gives for the same value.

    Parameters
    ----------
    obj
        Mappings, lists, tuples, text, numbers, booleans and ``None``. Keys that are array indexes come first in
        ascending order, as in every JavaScript object. An ``int`` keeps all its digits.

    Raises
    ------
    ValidationError
        For any other type, for ``nan`` and infinities, and for nesting of more than 100 levels.

    Examples
    --------
    >>> dumps({"iexec_args": "é", "iexec_secrets": {2: "b", 1: "a"}})
    '{"iexec_args":"é","iexec_secrets":{"1":"a","2":"b"}}'
    """
    return _dumps(obj, 0)


def _dumps(obj: object, depth: int) -> str:
    if depth > _MAX_DEPTH:
        raise ValidationError(f"params are nested more than {_MAX_DEPTH} deep", hint="put deep data into an input file")
    if obj is None or isinstance(obj, bool | int | float):
        return _scalar_text(obj)
    if isinstance(obj, str):
        return _quoted(obj)
    if isinstance(obj, Mapping):
        return "{" + ",".join(f"{_quoted(key)}:{_dumps(item, depth + 1)}" for key, item in _properties(obj)) + "}"
    if isinstance(obj, list | tuple):
        return "[" + ",".join(_dumps(item, depth + 1) for item in obj) + "]"
    raise ValidationError(
        f"params cannot hold a {type(obj).__name__}: {shown(obj)}",
        hint="give text, numbers, booleans, lists and dicts",
    )


def _properties(obj: Mapping[Any, object]) -> list[tuple[str, object]]:
    """Return the entries of a mapping in the order in which JavaScript lists the properties of an object."""
    named: dict[str, object] = {}
    for key, value in obj.items():
        if not isinstance(key, str) and type(key) is not int:
            raise ValidationError(f"{shown(key)} is not a key of JSON", hint="give keys as text")
        named[_paired(str(key))] = value
    indexes = sorted((key for key in named if _is_index(key)), key=int)
    return [(key, named[key]) for key in (*indexes, *(key for key in named if not _is_index(key)))]


def _is_index(key: str) -> bool:
    return _ARRAY_INDEX.fullmatch(key) is not None and int(key) < 2**32 - 1


def _paired(text: str) -> str:
    """Join surrogates that stand in pairs: JavaScript cannot tell them from the character."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def _quoted(text: str) -> str:
    return '"' + _ESCAPE.sub(_escaped, _paired(text)) + '"'


def _escaped(match: re.Match[str]) -> str:
    character = match[0]
    return _SHORT_ESCAPES.get(character) or f"\\u{ord(character):04x}"


def _scalar_text(value: object) -> str:
    """Return what JavaScript's ``String()`` gives for null, a boolean or a number."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return int.__repr__(value)
    if isinstance(value, float) and math.isfinite(value):
        return _float_text(value)
    raise ValidationError(f"{value} is not a number that JSON can hold", hint="give a finite number")


def _float_text(value: float) -> str:
    """Return the shortest digits of a number in the notation of ECMAScript's ``Number::toString``."""
    mantissa, _, exponent = f"{float.__repr__(abs(value))}e0".partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0").rstrip("0")
    if not digits:
        return "0"
    # The value is 0.digits * 10**point.
    leading = len(whole + fraction) - len((whole + fraction).lstrip("0"))
    point = len(whole) - leading + int(exponent.partition("e")[0])
    if len(digits) <= point <= 21:
        text = digits.ljust(point, "0")
    elif 0 < point <= 21:
        text = f"{digits[:point]}.{digits[point:]}"
    elif -6 < point <= 0:
        text = f"0.{'0' * -point}{digits}"
    else:
        text = f"{digits[0]}{'.' if digits[1:] else ''}{digits[1:]}e{point - 1:+d}"
    return f"-{text}" if value < 0 else text


def _check_depth(text: str) -> None:
    """Refuse deep nesting before the parser meets it: where the recursion limit was raised it ends the process."""
    if text.count("[") + text.count("{") <= _MAX_DEPTH:
        return
    depth = 0
    for bracket in _BRACKETS.findall(_STRINGS.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        if depth > _MAX_DEPTH:
            raise ValueError("nested too deeply")


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _given(value: object) -> dict[str, Any]:
    """Return params in any accepted form as a dict with text keys."""
    if value is None:
        return {}
    if isinstance(value, str):
        # Half of a surrogate pair is no reason to take JSON for arguments: it is escaped when the params are written.
        try:
            value = _parsed(value)
        except ValueError:
            return {"iexec_args": value}
    return _object(value)


def _object(value: object) -> dict[str, Any]:
    if value is None:
        raise ValidationError("this cannot be null", hint='give params as a dict, such as {"iexec_args": "hello"}')
    if not isinstance(value, Mapping):
        raise _wrong_type("this", "object", value)
    return {key: _plain(item) for key, item in _properties(value)}


def _plain(item: object) -> object:
    if isinstance(item, Mapping):
        return dict(_properties(item))
    return list(item) if isinstance(item, tuple) else item


def _same(built: object, given: object) -> bool:
    return built is given or (type(built) is type(given) and built == given)


def _to_string(value: object) -> object:
    return _scalar_text(value) if isinstance(value, bool | int | float) else value


def _to_boolean(value: object) -> object:
    text = _to_string(value)
    if isinstance(text, str) and text.lower() in ("true", "1", "false", "0"):
        return text.lower() in ("true", "1")
    return value


def _to_urls(value: object) -> object:
    if isinstance(value, str):
        return value.split(",")
    return [_to_string(item) for item in value] if isinstance(value, list) else value


def _to_itself(value: object) -> object:
    return value


# The order of the keys is the order in which SDK 9.0.1 writes them.
_CASTS: Mapping[str, Callable[[object], object]] = {
    "iexec_secrets": _to_itself,
    "iexec_result_storage_provider": _to_string,
    "iexec_result_encryption": _to_boolean,
    "bulk_cid": _to_string,
    "iexec_input_files": _to_urls,
    "iexec_args": _to_string,
}


def _check(params: Mapping[str, Any], *, tee: bool, callback: bool) -> None:
    if "iexec_secrets" in params:
        _check_secrets(params["iexec_secrets"], tee=tee)
    _check_provider(params, tee=tee, callback=callback)
    _check_type(params, "iexec_result_encryption", bool)
    if "bulk_cid" in params:
        _check_bulk(params["bulk_cid"])
    _check_type(params, "iexec_input_files", list)
    for index, url in enumerate(params.get("iexec_input_files", ())):
        _check_url(f"iexec_input_files[{index}]", url)
    _check_type(params, "iexec_args", str)


def _check_bulk(cid: object) -> None:
    if cid is not None and not isinstance(cid, str):
        raise _wrong_type("bulk_cid", "string", cid)
    if cid is None or not _is_cid(cid):
        raise ValidationError(
            f"{_shown_value(cid)} is not a valid CID", hint="give bulk_cid as the CID of an uploaded bulk"
        )


def _check_url(name: str, url: object) -> None:
    if url is not None and not isinstance(url, str):
        raise _wrong_type(name, "string", url)
    if url is None or not _URL.match(url):
        raise ValidationError(
            f'{name} "{_shown_value(url)}" is not a valid URL',
            hint="give an address that starts with https:// or http://",
        )


def _check_secrets(secrets: object, *, tee: bool) -> None:
    if secrets is None:
        raise ValidationError("iexec_secrets cannot be null", hint='give {"1": "name of the secret"}')
    if not tee:
        raise ValidationError(
            "iexec_secrets is not supported for non TEE tasks", hint="add the tags tee and tdx, or leave them out"
        )
    if not isinstance(secrets, Mapping):
        raise _wrong_type("iexec_secrets", "object", secrets)
    if not all(_SECRET_KEY.fullmatch(key) for key in secrets):
        raise ValidationError(
            "iexec_secrets mapping keys must be strictly positive integers",
            context={"keys": shown(", ".join(map(str, secrets)))},
            hint='number the secrets from "1"',
        )
    if not all(isinstance(name, str) and name for name in secrets.values()):
        raise ValidationError(
            "iexec_secrets mapping names must be strings", hint="give the names of secrets that are in the SMS"
        )


def _check_provider(params: Mapping[str, Any], *, tee: bool, callback: bool) -> None:
    key = "iexec_result_storage_provider"
    if callback and params.get(key) is None:
        return
    if params.get(key) is None:
        raise ValidationError(f"{key} is a required field", hint=f'give "{key}": "{IPFS}"')
    _check_type(params, key, str)
    provider = params[key]
    if callback or provider == IPFS or (tee and provider in STORAGE_PROVIDERS):
        return
    rule = (
        f"is not a valid storage provider, use one of the supported providers ({', '.join(STORAGE_PROVIDERS)})"
        if tee
        else f"is not supported for non TEE tasks use supported storage provider {IPFS}"
    )
    raise ValidationError(f'{key} "{shown(provider)}" {rule}', hint=f'give "{key}": "{IPFS}"')


def _check_type(params: Mapping[str, Any], key: str, kind: type) -> None:
    if key not in params or isinstance(params[key], kind):
        return
    if params[key] is None:
        raise ValidationError(f"{key} cannot be null", hint=f"leave {key} out")
    raise _wrong_type(key, {str: "string", bool: "boolean", list: "array"}[kind], params[key])


def _wrong_type(key: str, expected: str, value: object) -> ValidationError:
    return ValidationError(
        f"{key} must be a `{expected}` type, but the final value was: `{_shown_value(value, quoted=True)}`.",
        hint=f"give {'params' if key == 'this' else key} as {expected}",
    )


def _shown_value(value: object, *, quoted: bool = False) -> str:
    """Return a value as the SDK prints it in a message, on one line."""
    if isinstance(value, str):
        return f'"{shown(value)}"' if quoted else shown(value)
    try:
        return shown(dumps(value))
    except ValidationError:
        return shown(value)


def _is_cid(text: str) -> bool:
    """Tell whether text is a CID in a form that the SDK can parse."""
    if not _CID.fullmatch(text):
        return False
    try:
        Cid.parse(text)
    except ValidationError:
        return False
    return True
