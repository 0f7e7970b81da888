"""Amounts of RLC and ether, always exact.

Money is an ``int`` of the smallest unit (nRLC, wei). Text carries its unit, a ``float`` never enters: 0.1 is not a
tenth. One RLC is 10**9 nRLC and one ether 10**18 wei.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from operator import index
from typing import SupportsIndex

from iexec_nb.errors import ValidationError
from iexec_nb.protocol.types import UINT256_MAX, shown

RLC_UNITS: Mapping[str, int] = {"nRLC": 0, "RLC": 9}
ETHER_UNITS: Mapping[str, int] = {
    "wei": 0,
    "kwei": 3,
    "mwei": 6,
    "gwei": 9,
    "szabo": 12,
    "finney": 15,
    "ether": 18,
    "eth": 18,
}
WEI_PER_NRLC = 10**9
"""On a chain whose own coin is RLC, one nRLC is this many wei."""

_WHOLE = re.compile(r"-?[0-9]{1,1000}")
_NUMBER = re.compile(r"(0*[0-9]{0,100})(?:\.([0-9]{0,100}))?")


def nrlc(value: object, name: str = "amount") -> int:
    """Return an amount in nRLC.

    Parameters
    ----------
    value
        An ``int`` in nRLC, digits (nRLC), text with a unit such as ``"0.5 RLC"`` or ``"20 nRLC"``, or a pair
        ``(amount, unit)``, whose unit may be missing. Units are case-sensitive.
    name
        What the message calls it.

    Raises
    ------
    ValidationError
        For a ``float``, a negative number, an unknown unit or a fraction of one nRLC.

    Examples
    --------
    >>> nrlc("0.5 RLC"), nrlc("20"), nrlc(7)
    (500000000, 20, 7)
    """
    return _amount(value, RLC_UNITS, "nRLC", "RLC", name)


def wei(value: object, name: str = "amount") -> int:
    """Return an amount in wei: an ``int`` or digits in wei, or text with a unit such as ``"0.1 ether"``.

    Raises
    ------
    ValidationError
        As `nrlc`.
    """
    return _amount(value, ETHER_UNITS, "wei", "ether", name)


def parse_rlc(value: object, unit: str = "RLC") -> int:
    """Return nRLC from text whose unit is RLC where none is written (the SDK's ``utils.parseRLC``)."""
    return _amount(value, RLC_UNITS, _known(unit, RLC_UNITS, "amount"), "RLC", "amount")


def parse_eth(value: object, unit: str = "ether") -> int:
    """Return wei from text whose unit is ether where none is written (the SDK's ``utils.parseEth``)."""
    return _amount(value, ETHER_UNITS, _known(unit, ETHER_UNITS, "amount"), "ether", "amount")


def format_rlc(amount: int | str) -> str:
    """Return nRLC (an ``int`` or its digits) as text in RLC with the unit, exact: ``"0.5 RLC"``.

    Raises
    ------
    ValidationError
        For anything else, such as a ``float``.
    """
    return f"{_decimal(amount, 9, 'nRLC')} RLC"


def format_ether(amount: int | str) -> str:
    """Return wei (an ``int`` or its digits) as text in ether with the unit, exact: ``"0.01 ether"``.

    Raises
    ------
    ValidationError
        For anything else, such as a ``float``.
    """
    return f"{_decimal(amount, 18, 'wei')} ether"


def _decimal(amount: int | str, places: int, unit: str) -> str:
    number = _whole(amount, unit)
    whole, fraction = divmod(abs(number), 10**places)
    digits = f"{fraction:0{places}d}".rstrip("0")
    return ("-" if number < 0 else "") + (f"{whole}.{digits}" if digits else str(whole))


def _whole(amount: object, unit: str) -> int:
    if isinstance(amount, str) and _WHOLE.fullmatch(amount):
        return int(amount)
    # A column of a DataFrame holds NumPy's integers, which are integers by their __index__ only.
    if isinstance(amount, SupportsIndex) and not isinstance(amount, bool):
        return index(amount)
    raise ValidationError(f"{shown(amount)} is not a number of {unit}", hint="give an int, such as 1500000000")


def _amount(value: object, units: Mapping[str, int], default: str, big: str, name: str) -> int:
    first = value[0] if isinstance(value, tuple | list) and value else value
    if isinstance(first, float | Decimal):
        exact = format(Decimal(str(first)), "f")
        raise _refusal(
            value, name, f'"{exact} {big}" or an int of {next(iter(units))}; fractions without a unit are refused'
        )
    number, unit = _split(value, default, big, name)
    places = units[_known(unit, units, name, value)]
    match = _NUMBER.fullmatch(number)
    if not match or not (match[1] or match[2]):
        raise _refusal(value, name, f'"1.5 {big}" or an int of {next(iter(units))}')
    whole, fraction = match[1].lstrip("0") or "0", (match[2] or "").rstrip("0")
    if len(fraction) > places:
        raise _refusal(value, name, f"at most {places} decimals of {unit}" if places else f'"{number} {big}"')
    amount = int(whole + fraction.ljust(places, "0"))
    if amount > UINT256_MAX:
        raise _refusal(value, name, "an amount below 2**256")
    return amount


def _split(value: object, default: str, big: str, name: str) -> tuple[str, str]:
    if type(value) is int and value >= 0:
        return str(value), default
    if isinstance(value, tuple | list) and 1 <= len(value) <= 2:
        return str(value[0]), str((*value, None)[1] or default)
    if isinstance(value, str):
        number, _, unit = value.partition(" ")
        return number, unit if " " in value else default
    raise _refusal(value, name, f'"1.5 {big}" or a whole number')


def _known(unit: str, units: Mapping[str, int], name: str, value: object = None) -> str:
    if unit in units:
        return unit
    close = next((u for u in units if u.lower() == unit.lower()), None)
    rule = f"an amount in {close} (units are case-sensitive)" if close else f"an amount in one of {', '.join(units)}"
    raise _refusal(unit if value is None else value, name, rule)


def _refusal(value: object, name: str, rule: str) -> ValidationError:
    text = shown(" ".join(map(str, value)) if isinstance(value, tuple | list) else value)
    return ValidationError(f"{text} is not a valid amount", context={"argument": name}, hint=f"give {name} as {rule}")
