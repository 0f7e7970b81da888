"""The noun ``order``: from a template to a deal."""

from __future__ import annotations

from iexec_nb.actions.inits import OrderInit
from iexec_nb.actions.order_matching import OrderMatching
from iexec_nb.commands import noun


@noun("order")
class OrderActions(OrderInit, OrderMatching):
    """Orders: create, sign, publish, show and match the four kinds."""
