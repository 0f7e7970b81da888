"""The verbs that list protected data and decide who may use it: grants are dataset orders for one app and one user."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from iexec_nb.actions.base import Amount, Noun
from iexec_nb.actions.book import verified
from iexec_nb.actions.protected_making import address_of
from iexec_nb.commands import command
from iexec_nb.errors import MarketCallError, ObjectNotFoundError, ValidationError
from iexec_nb.protocol import params
from iexec_nb.protocol import protected_data as rules
from iexec_nb.protocol.orders import DATASET_INFINITE_VOLUME, DatasetOrder, PublishedOrder
from iexec_nb.protocol.protected_records import MAX_SECONDS, GrantedAccess, Protected, RevokedAccess
from iexec_nb.protocol.receipts import Transferred
from iexec_nb.protocol.types import NULL_ADDRESS, Address, address, shown, uint256
from iexec_nb.protocol.units import nrlc
from iexec_nb.services import dataprotector
from iexec_nb.services.subgraph import MAX_PAGE

if TYPE_CHECKING:
    import pandas as pd

Access = GrantedAccess | PublishedOrder | DatasetOrder | str


def _list_raw(found: pd.DataFrame) -> dict[str, Any]:
    rows = found.to_dict("records")
    for row in rows:
        row["creationTimestamp"] = int(row["creationTimestamp"].timestamp())
        row["multiaddr"] = row["multiaddr"] if isinstance(row["multiaddr"], str) else None
    return {"protectedData": rows, "count": len(rows)}


def _accesses_raw(found: pd.DataFrame) -> dict[str, Any]:
    orders = zip(found.iexec.orders(), found["remaining"], strict=True)
    return {
        "grantedAccess": [GrantedAccess(order=order, remainingAccess=int(left)).to_json() for order, left in orders],
        "count": len(found),
    }


def _revoked_raw(gone: Sequence[RevokedAccess]) -> dict[str, Any]:
    return {"revokedAccess": [one.to_json() for one in gone]}


class ProtectedGrants(Noun):
    """The verbs of rights."""

    @command(
        "protected-data list --owner 0x0123456789012345678901234567890123456789",
        raw=_list_raw,
        js=("dataProtectorCore.getProtectedData",),
    )
    def list(
        self,
        address: str | None = None,
        /,
        *,
        owner: str | None = None,
        required_schema: Mapping[str, Any] | str | None = None,
        created_after: datetime | int | str | None = None,
        limit: int | str | None = None,
    ) -> pd.DataFrame:
        """Return protected data as a DataFrame, the newest first.

        Parameters
        ----------
        address
            Only this one.
        owner
            Only what this address owns.
        required_schema
            Only what has these values: types by name, such as ``{"email": "string"}``, or a list of types any of which
            will do; on a line as JSON.
        created_after
            Only what was made at this time or later: a datetime, seconds since 1970, or ISO 8601 text.
        limit
            At most so many; default: all.

        Returns
        -------
        pandas.DataFrame
            Schema `tables.PROTECTED_DATA`.

        Raises
        ------
        ValidationError
            When a filter is malformed.
        SubgraphCallError
            When the subgraph does not answer (the SDK says ``Failed to fetch protected data``).

        Source
        ------
        Query ``protectedDatas`` of the DataProtector subgraph.
        """
        from iexec_nb import tables

        filters: list[dict[str, Any]] = []
        if address is not None:
            filters.append({"id": address_of(address).lower()})
        if owner is not None:
            filters.append({"owner": _address(owner, "owner").lower()})
        if (since := _seconds(created_after)) is not None:
            filters.append({"creationTimestamp_gte": str(since)})
        if required_schema is not None:
            wanted = params.parse(required_schema) if isinstance(required_schema, str) else required_schema
            filters += rules.search_filters(wanted)
        most = sys.maxsize if limit is None else uint256(limit, "limit")
        subgraph = self._client.subgraph("dataprotector_subgraph")
        size = max(min(most, MAX_PAGE), 10)
        found = itertools.islice(
            dataprotector.protected_data(subgraph, filters, page_size=size), min(most, sys.maxsize)
        )
        attrs = {
            "chain": self._client.network.name, "chain_id": self._client.network.chain_id,
            "source": "dataprotector_subgraph", "fetched_at": datetime.now(UTC),
        }  # fmt: skip
        return tables.frame(tables.PROTECTED_DATA, found, attrs=attrs)

    @command(
        "protected-data grant 0x0123456789012345678901234567890123456789 "
        "--authorized-app 0x1234567890123456789012345678901234567890 "
        "--authorized-user 0x2345678901234567890123456789012345678901",
        spends=True,
        raw=GrantedAccess.to_json,
        js=("dataProtectorCore.grantAccess",),
    )
    def grant(
        self,
        protected_data: str | Protected,
        /,
        *,
        authorized_app: str,
        authorized_user: str,
        price_per_access: Amount = 0,
        number_of_access: int | str | None = None,
        allow_bulk: bool = False,
    ) -> GrantedAccess:
        """Allow an app to read protected data in the runs of a user: sign that and publish it.

        Parameters
        ----------
        protected_data
            Its address.
        authorized_app
            The app, or a whitelist contract (ERC-734) of apps.
        authorized_user
            Who may run it, or a whitelist contract of users; the zero address for anybody.
        price_per_access
            What the user pays for each task, in nRLC or with a unit.
        number_of_access
            How many tasks; default: 1.
        allow_bulk
            Allow it in bulks, where many protected data are processed in one task: then it costs nothing and ends only
            when it is revoked.

        Returns
        -------
        GrantedAccess
            ``order``, the signed dataset order, and ``remainingAccess``.

        Raises
        ------
        ValidationError
            When an argument is malformed, there is such an access already, the wallet is not the owner, or the secret
            service has no key for the data.
        ObjectNotFoundError
            When there is no such dataset, or neither an app nor a whitelist at `authorized_app`.
        MarketCallError
            When the market refuses.

        Source
        ------
        EIP-712 under the hub's ``domain()``; endpoint ``POST /datasetorders`` of the market API.
        """
        order = _access_order(
            address_of(protected_data), _address(authorized_app, "authorizedApp"),
            _address(authorized_user, "authorizedUser"), nrlc(price_per_access, "pricePerAccess"), number_of_access,
            allow_bulk=allow_bulk,
        )  # fmt: skip
        self._chain.require_registered("dataset", order.dataset)
        self._check_app(order.apprestrict)
        granted = self._published(
            dataset=order.dataset, app=order.apprestrict, requester=order.requesterrestrict, isAppStrict=True,
            isRequesterStrict=True,
        )  # fmt: skip
        if granted:
            raise ValidationError(
                f"An access has been already granted to the user: {order.requesterrestrict.lower()} with the app: "
                f"{order.apprestrict.lower()}",
                context={"orderHash": granted[0].orderHash, "remaining": granted[0].remaining},
                hint="revoke it first: protected_data.revoke_all(...)",
            )
        signed, _ = self._client.order.sign_to_publish(order)
        return GrantedAccess(order=signed, remainingAccess=signed.volume)

    @command(
        "protected-data granted-access 0x0123456789012345678901234567890123456789",
        raw=_accesses_raw,
        js=("dataProtectorCore.getGrantedAccess",),
    )
    def granted_access(
        self,
        protected_data: str | Protected | None = None,
        /,
        *,
        authorized_app: str | None = None,
        authorized_user: str | None = None,
        is_user_strict: bool = False,
        bulk_only: bool = False,
        limit: int | str | None = None,
    ) -> pd.DataFrame:
        """Return who may use protected data as a DataFrame, one row an access; prices in nRLC a task.

        Parameters
        ----------
        protected_data
            Its address; default: any.
        authorized_app
            Only accesses for this app; default: any.
        authorized_user
            Only accesses that this user can use; default: any.
        is_user_strict
            Only accesses that are for just that user, without those for anybody.
        bulk_only
            Only accesses that can be used in bulks.
        limit
            At most so many; default: all.

        Returns
        -------
        pandas.DataFrame
            Schema `tables.DATASET_ORDERS`; ``df.iexec.order(0)`` is the signed order of a row.

        Raises
        ------
        ValidationError
            When a filter is malformed.
        MarketCallError
            When the market does not answer.

        Source
        ------
        Endpoint ``GET /datasetorders`` of the market API.
        """
        return self._client.orderbook.dataset(
            "any" if protected_data is None else address_of(protected_data),
            app="any" if authorized_app is None else _address(authorized_app, "authorizedApp"),
            requester="any" if authorized_user is None else _address(authorized_user, "authorizedUser"),
            app_strict=authorized_app is not None, requester_strict=is_user_strict, bulk_only=bulk_only, limit=limit,
        )  # fmt: skip

    @command(
        "protected-data revoke-one $order",
        spends=True,
        raw=RevokedAccess.to_json,
        js=("dataProtectorCore.revokeOneAccess",),
    )
    def revoke_one(self, granted_access: Access | pd.DataFrame | Mapping[str, Any], /) -> RevokedAccess:
        """Take an access back, by a transaction; tasks that use it already go on.

        Parameters
        ----------
        granted_access
            What `grant` returned, a row of `granted_access` (a DataFrame of one row), a dataset order, its JSON, or its
            hash.

        Returns
        -------
        RevokedAccess
            ``access`` and ``txHash``.

        Raises
        ------
        OrderConsumedError
            When it is revoked already, or used up.
        ValidationError
            When the wallet is not the owner, or it is no access.

        Source
        ------
        Contract function ``manageDatasetOrder``, operation 1.
        """
        order = self._order_of(granted_access)
        left = granted_access.remainingAccess if isinstance(granted_access, GrantedAccess) else order.volume
        gone = self._client.order.cancel(order)
        return RevokedAccess(access=GrantedAccess(order=order, remainingAccess=left), txHash=gone.txHash)

    @command(
        "protected-data revoke-all 0x0123456789012345678901234567890123456789",
        spends=True,
        raw=_revoked_raw,
        js=("dataProtectorCore.revokeAllAccess",),
    )
    def revoke_all(
        self,
        protected_data: str | Protected,
        /,
        *,
        authorized_app: str | None = None,
        authorized_user: str | None = None,
    ) -> tuple[RevokedAccess, ...]:
        """Take all accesses to protected data back, or those of an app or a user; a transaction for each.

        What the market does not list is not found: an access that was handed over in another way is taken back with
        `revoke_one`.

        Parameters
        ----------
        protected_data
            Its address.
        authorized_app
            Only accesses for this app.
        authorized_user
            Only accesses that this user can use; those for anybody are among them.

        Returns
        -------
        tuple of RevokedAccess
            Empty where there was none.

        Raises
        ------
        ValidationError
            When the wallet is not the owner.
        MarketCallError
            When the market does not answer.

        Source
        ------
        Contract function ``manageDatasetOrder``, operation 1.
        """
        where = address_of(protected_data)
        app = None if authorized_app is None else _address(authorized_app, "authorizedApp")
        user = None if authorized_user is None else _address(authorized_user, "authorizedUser")
        self._chain.require_registered("dataset", where)
        listed = self._published(dataset=where, app=app or "any", requester=user or "any", isAppStrict=app is not None)
        # The market hears of what the chain did a moment later.
        used = self._chain.consumed([one.orderHash for one in listed])
        listed = [one for one in listed if used[one.orderHash] < one.order.volume]
        if not listed:
            return ()
        gone = self._client.order.cancel_all([one.order for one in listed])
        accesses = [GrantedAccess(order=_dataset_order(one.order), remainingAccess=one.remaining) for one in listed]
        return tuple(
            RevokedAccess(access=access, txHash=one.txHash) for access, one in zip(accesses, gone, strict=True)
        )

    @command(
        "protected-data transfer 0x0123456789012345678901234567890123456789 "
        "--new-owner 0x1234567890123456789012345678901234567890",
        spends=True,
        raw=lambda gone: {"address": gone.address, "to": gone.to, "txHash": gone.txHash},
        js=("dataProtectorCore.transferOwnership",),
    )
    def transfer(self, protected_data: str | Protected, /, *, new_owner: str) -> Transferred:
        """Give protected data to somebody else, for good; accesses that were granted are valid no more.

        Parameters
        ----------
        protected_data
            Its address.
        new_owner
            Who decides about it from then on.

        Returns
        -------
        Transferred
            ``address``, ``to`` and ``txHash``.

        Raises
        ------
        ValidationError
            When there is no such dataset, or it is not the wallet's.

        Source
        ------
        Contract function ``safeTransferFrom`` of the DatasetRegistry.
        """
        return self._client.dataset.transfer(address_of(protected_data), to=_address(new_owner, "newOwner"))

    def _check_app(self, where: Address) -> None:
        chain = self._chain
        if not chain.registered("app", [where])[where] and not dataprotector.is_whitelist(chain, where):
            error = ObjectNotFoundError("app", where, chain.chain_id, hint="check the address and the chain")
            error.message = (
                f"Invalid authorized app address {where.lower()}. No app or whitelist smart contract deployed at "
                "address."
            )
            raise error

    def _published(self, **filters: Any) -> Sequence[PublishedOrder]:
        return verified(self._chain, "dataset", self._client.market.orders("dataset", page_size=1000, **filters))

    def _order_of(self, given: Any) -> DatasetOrder:
        """Return the dataset order of an access in any form."""
        if isinstance(given, GrantedAccess):
            return given.order
        if hasattr(given, "columns"):
            if len(given) != 1:
                raise ValidationError(
                    f"the table has {len(given)} accesses",
                    hint="take one: revoke_one(df.iloc[[0]]), or revoke_all(...)",
                )
            return _dataset_order(given.iexec.order(0))
        if isinstance(given, str) and len(given) == 66:
            try:
                listed = self._client.order.show("dataset", given)
            except MarketCallError as error:
                error.hint = "give the access itself: what grant(...) returned, or its JSON"
                raise
            return _dataset_order(listed.order)
        return _dataset_order(self._client.order.read(given))


def _dataset_order(order: object) -> DatasetOrder:
    if isinstance(order, DatasetOrder):
        return order
    raise ValidationError(
        f"{shown(order)} is not an access to protected data", hint="give what grant(...) returned, or its JSON"
    )


def _access_order(
    where: Address, app: Address, user: Address, price: int, times: object, *, allow_bulk: bool
) -> DatasetOrder:
    """Return the order of an access, not signed; wrong arguments in the words of the SDK."""
    if not isinstance(allow_bulk, bool):
        raise ValidationError("allowBulk should be a boolean", hint="allow_bulk=True")
    volume = 1 if times is None else uint256(times, "numberOfAccess")
    if volume == 0:
        raise ValidationError("numberOfAccess should be a strictly positive integer", hint="give 1 or more")
    if allow_bulk:
        if price:
            raise ValidationError("allowBulk requires pricePerAccess to be 0 or undefined", hint="leave the price out")
        if times is not None and volume != DATASET_INFINITE_VOLUME:
            raise ValidationError(
                f"allowBulk requires numberOfAccess to be {DATASET_INFINITE_VOLUME} or undefined",
                hint="leave number_of_access out",
            )
        volume = DATASET_INFINITE_VOLUME
    if app == NULL_ADDRESS:
        raise ValidationError(
            f"Forbidden to use {NULL_ADDRESS} as authorizedApp, this would give access to any app",
            hint="name the app that may read the data",
        )
    return DatasetOrder(
        dataset=where, datasetprice=price, volume=volume, apprestrict=app, requesterrestrict=user,
    )  # fmt: skip


def _address(given: object, name: str) -> Address:
    return address(given, name)


def _seconds(given: object) -> int | None:
    """Return a time as whole seconds since 1970."""
    if given is None:
        return None
    if isinstance(given, datetime):
        moment = given
    elif isinstance(given, str) and not given.isdecimal():
        try:
            moment = datetime.fromisoformat(given)
        except ValueError:
            raise _no_time(given) from None
    else:
        seconds = uint256(given, "createdAfterTimestamp")
        if seconds > MAX_SECONDS:
            raise _no_time(given)
        return seconds
    if moment.tzinfo is None:
        raise ValidationError(
            f"{shown(str(given))} is a time without a time zone", hint="created_after=datetime(2026, 1, 1, tzinfo=UTC)"
        )
    # Blocks have whole seconds: the first one that is not before this moment.
    return max(-int(-moment.timestamp() // 1), 0)


def _no_time(given: object) -> ValidationError:
    return ValidationError(
        f"{shown(str(given))} is not a time",
        context={"argument": "createdAfterTimestamp"},
        hint="give a datetime, seconds since 1970, or text such as 2026-01-31T00:00:00Z",
    )
