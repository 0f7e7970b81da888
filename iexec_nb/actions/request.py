"""A request on the market: what is wanted and the most that is paid for it, before anybody agreed to compute it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iexec_nb.actions.wishes import Wishes
from iexec_nb.errors import InsufficientFundsError, ValidationError
from iexec_nb.protocol import params
from iexec_nb.protocol.orders import RequestOrder
from iexec_nb.protocol.types import NULL_ADDRESS, uint256
from iexec_nb.protocol.units import format_rlc, nrlc

if TYPE_CHECKING:
    from iexec_nb.client import IExec


def request_order(
    wishes: Wishes, app_price: object, dataset_price: object, workerpool_price: object, volume: object
) -> RequestOrder:
    """Return the request order of wishes and prices, not signed.

    Raises
    ------
    ValidationError
        When a price or the volume is malformed.
    """
    tasks = uint256(volume, "volume")
    if tasks == 0:
        raise ValidationError("volume must be greater than 0", hint="give volume as the number of tasks")
    paid_for_data = nrlc(dataset_price, "dataset_price")
    return RequestOrder(
        app=wishes.app,
        appmaxprice=nrlc(app_price, "app_price"),
        dataset=wishes.dataset,
        datasetmaxprice=0 if wishes.dataset == NULL_ADDRESS else paid_for_data,
        workerpool=wishes.workerpool,
        workerpoolmaxprice=nrlc(workerpool_price, "workerpool_price"),
        requester=wishes.requester,
        volume=tasks,
        tag=wishes.tag,
        category=wishes.category or 0,
        trust=wishes.trust,
        beneficiary=wishes.beneficiary,
        callback=wishes.callback,
        params=params.dumps(wishes.params),
    )


def check_request(client: IExec, order: RequestOrder) -> None:
    """Check that what a request names is deployed and that the requester's stake could pay for all of it.

    Raises
    ------
    ObjectNotFoundError
        When the app, dataset, workerpool or category does not exist.
    InsufficientFundsError
        When the stake is too low: the market would not list the request.
    """
    chain = client.chain
    parts: dict[str, Any] = {"app": order.app, "dataset": order.dataset, "workerpool": order.workerpool}
    for kind, where in parts.items():
        if where != NULL_ADDRESS:
            chain.require_registered(kind, where)
    chain.category(order.category)
    total = (order.appmaxprice + order.datasetmaxprice + order.workerpoolmaxprice) * order.volume
    stake = chain.account(order.requester).stake
    if total > stake:
        lacking = format_rlc(total - stake)
        raise InsufficientFundsError(
            f"Not enough RLC on your account ({format_rlc(total)} required)",
            context={"account stake": format_rlc(stake), "missing": lacking, "requester": order.requester},
            hint=f'iexec.account.deposit("{lacking}")',
        )
