"""What a run would cost and what it did cost: records of money, each amount whole and with its unit in its name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from iexec_nb.protocol.types import Address, Bytes32
from iexec_nb.protocol.units import format_ether, format_rlc


@dataclass(frozen=True, slots=True, kw_only=True)
class Gas:
    """What the transaction of a match needs.

    Parameters
    ----------
    units
        Units of gas, as the node simulates it; None where it cannot say that before the request is signed.
    price
        What a unit costs now, in wei.
    note
        How it is known, or why it is not.
    """

    units: int | None
    price: int
    note: str

    @property
    def fee(self) -> int | None:
        """What the transaction costs at this price, in wei; None where the units are not known."""
        return None if self.units is None else self.units * self.price


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """What a run would cost, and whether it would work; nothing was signed for it.

    Parameters
    ----------
    app, dataset, workerpool
        What would be bought; None for no dataset.
    category, trust, volume
        Size of the computation, confidence, and number of tasks.
    appprice, datasetprice, workerpoolprice
        Price of each for one task, in nRLC.
    orders
        Hash of each counter order by its kind; None for one of the wallet's own, which is signed on the way.
    gas
        What the transaction needs.
    requester
        Who would pay; None where the client has no wallet, and then nothing is known of what it has.
    stake
        What is free on the requester's account, in nRLC.
    allowance
        What the hub may take from the wallet for a deposit without asking again, in nRLC; None on a chain whose own
        coin is RLC.
    wei, nRLC
        What the wallet holds, in wei and in nRLC.
    problems
        Why it would not work, a sentence each; none when it would.
    hints
        What to type, for each problem.
    """

    app: Address
    dataset: Address | None
    workerpool: Address
    category: int
    trust: int
    volume: int
    appprice: int
    datasetprice: int
    workerpoolprice: int
    orders: Mapping[str, Bytes32 | None]
    gas: Gas
    requester: Address | None = None
    stake: int | None = None
    allowance: int | None = None
    wei: int | None = None
    nRLC: int | None = None
    problems: tuple[str, ...] = ()
    hints: tuple[str, ...] = ()

    @property
    def per_task(self) -> int:
        """What one task costs, in nRLC."""
        return self.appprice + self.datasetprice + self.workerpoolprice

    @property
    def total(self) -> int:
        """What the run costs in all, in nRLC, gas excepted."""
        return self.per_task * self.volume

    @property
    def stakeAfter(self) -> int | None:
        """What stays free on the account after the match, in nRLC; None where it does not reach, or is not known."""
        return None if self.stake is None or self.stake < self.total else self.stake - self.total

    @property
    def missing(self) -> int | None:
        """What has to be deposited first, in nRLC; 0 where the account has enough, None where it is not known."""
        return None if self.stake is None else max(self.total - self.stake, 0)

    @property
    def works(self) -> bool:
        """Whether nothing stands against it."""
        return not self.problems

    @property
    def hint(self) -> str | None:
        """What to type first; None where nothing is in the way."""
        return next((hint for hint in self.hints if hint), None)

    def __bool__(self) -> bool:
        return self.works

    def __repr__(self) -> str:
        tasks = f"{self.volume} task{'s' if self.volume != 1 else ''}"
        rows = [
            f"Quote({format_rlc(self.total)} for {tasks} in category {self.category})",
            f"app {format_rlc(self.appprice)}, dataset {format_rlc(self.datasetprice)}, "
            f"workerpool {format_rlc(self.workerpoolprice)}{' a task' if self.volume != 1 else ''}",
            f"workerpool: {self.workerpool}",
            f"gas: {self._gas_line()}",
        ]
        if self.requester is None:
            rows.append("no wallet: what it has is not known")
        else:
            rows += self._funds_lines()
        rows += [f"NOT READY: {problem}" for problem in self.problems] or ["ready: nothing stands against it"]
        rows += [f"hint: {hint}" for hint in dict.fromkeys(self.hints) if hint]
        return "\n  ".join(rows)

    def _gas_line(self) -> str:
        if self.gas.units is None or self.gas.fee is None:
            return f"{self.gas.price} wei a unit; {self.gas.note}"
        return f"{self.gas.units} units at {self.gas.price} wei, {format_ether(self.gas.fee)} ({self.gas.note})"

    def _funds_lines(self) -> list[str]:
        assert self.stake is not None
        after = "not enough" if self.stakeAfter is None else f"{format_rlc(self.stakeAfter)} after"
        rows = [f"account stake: {format_rlc(self.stake)}, {after}"]
        if self.missing:
            rows.append(f"to deposit first: {format_rlc(self.missing)}")
        rows.append(f"wallet: {format_rlc(self.nRLC or 0)}, {format_ether(self.wei or 0)}")
        if self.allowance is not None:
            rows.append(f"allowance of the hub: {format_rlc(self.allowance)}")
        return rows


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCost:
    """What a run cost.

    Parameters
    ----------
    volume
        Number of tasks.
    app, dataset, workerpool
        Price of each for one task, in nRLC.
    refunded
        What came back for tasks that were claimed, in nRLC.
    gasUsed
        Units of gas of the transaction that matched it; None where that is not known.
    fee
        What these cost, in wei; None where that is not known.
    txHash
        That transaction.
    """

    volume: int
    app: int
    dataset: int
    workerpool: int
    refunded: int = 0
    gasUsed: int | None = None
    fee: int | None = None
    txHash: Bytes32 | None = None

    @property
    def per_task(self) -> int:
        """What one task costs, in nRLC."""
        return self.app + self.dataset + self.workerpool

    @property
    def total(self) -> int:
        """What was locked for all tasks, in nRLC."""
        return self.per_task * self.volume

    @property
    def paid(self) -> int:
        """What was locked less what came back, in nRLC."""
        return self.total - self.refunded

    def __repr__(self) -> str:
        tasks = f"{self.volume} task{'s' if self.volume != 1 else ''}"
        back = f", {format_rlc(self.refunded)} refunded" if self.refunded else ""
        gas = "" if self.fee is None else f", gas {format_ether(self.fee)}"
        return f"RunCost({format_rlc(self.total)} for {tasks}{back}{gas})"
