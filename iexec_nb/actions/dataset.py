"""The noun ``dataset``: from a table or a file to something that can be sold without being seen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from iexec_nb.actions.base import Amount, Tags, text_of
from iexec_nb.actions.dataset_encryption import DatasetEncryption
from iexec_nb.actions.entries import deployed_raw, published_raw, required, unpublished_raw
from iexec_nb.actions.inits import DatasetInit
from iexec_nb.commands import command, noun
from iexec_nb.protocol import cid
from iexec_nb.protocol.receipts import Deployed, Transferred
from iexec_nb.protocol.resources import Dataset
from iexec_nb.protocol.types import Address, Bytes32, address, bytes32


def _raw(dataset: Dataset) -> dict[str, Any]:
    shown = {
        "datasetChecksum": dataset.datasetChecksum, "datasetMultiaddr": dataset.datasetMultiaddr,
        "datasetName": dataset.datasetName, "owner": dataset.owner, "registry": dataset.registry,
    }  # fmt: skip
    return {"address": dataset.address, "dataset": shown}


@noun("dataset")
class DatasetActions(DatasetEncryption, DatasetInit):
    """Datasets: encrypt, deploy, publish, and hand the key to the secret service."""

    @command(
        'dataset deploy --name "prices" --multiaddr /ipfs/QmW2WQi7j6c7UgJTarActp7tDNikE4B2qXtFCfLPdsgaTQ '
        "--checksum 0x0000000000000000000000000000000000000000000000000000000000000000",
        spends=True,
        js=("dataset.deployDataset",),
        raw=deployed_raw,
    )
    def deploy(
        self,
        *,
        name: str | None = None,
        multiaddr: str | None = None,
        checksum: str | None = None,
        owner: str | None = None,
    ) -> Deployed:
        """Deploy a dataset: tell the chain where its encrypted bytes are, and return its address.

        Without any argument the dataset of ``iexec.json`` is deployed, and its address kept in ``deployed.json``.

        Parameters
        ----------
        name
            What people read about it.
        multiaddr
            Where the encrypted file is: ``/ipfs/<CID>`` or an https URL.
        checksum
            SHA-256 of the encrypted file, ``0x`` text (``EncryptedDataset.checksum``).
        owner
            Who owns it; default: the client's wallet.

        Returns
        -------
        Deployed
            ``address`` and ``txHash``.

        Raises
        ------
        ValidationError
            When an argument is malformed, or the same dataset is deployed already.
        ConfigurationError
            When nothing is given and there is no ``iexec.json`` with a dataset.

        Source
        ------
        Contract function ``createDataset`` of the DatasetRegistry.
        """
        return self._deploy({"owner": owner, "name": name, "multiaddr": multiaddr, "checksum": checksum})

    @command(
        'dataset predict-address --name "prices" --multiaddr /ipfs/QmW2WQi7j6c7UgJTarActp7tDNikE4B2qXtFCfLPdsgaTQ '
        "--checksum 0x0000000000000000000000000000000000000000000000000000000000000000",
        js=("dataset.predictDatasetAddress",),
    )
    def predict_address(
        self,
        *,
        name: str | None = None,
        multiaddr: str | None = None,
        checksum: str | None = None,
        owner: str | None = None,
    ) -> Address:
        """Return the address that `deploy` with the same arguments gives; nothing is sent.

        Parameters
        ----------
        name
            What people read about it.
        multiaddr
            Where the encrypted file is: ``/ipfs/<CID>`` or an https URL.
        checksum
            SHA-256 of the encrypted file, ``0x`` text (``EncryptedDataset.checksum``).
        owner
            Who owns it; default: the client's wallet.

        Raises
        ------
        ValidationError
            When an argument is malformed.

        Source
        ------
        Contract function ``predictDataset`` of the DatasetRegistry.
        """
        return self._predict({"owner": owner, "name": name, "multiaddr": multiaddr, "checksum": checksum})

    def _arguments(self, body: Mapping[str, Any]) -> tuple[Any, ...]:
        return (
            address(required(body, "owner"), "owner"),
            text_of(required(body, "name"), "name"),
            cid.multiaddr_encode(text_of(required(body, "multiaddr"), "multiaddr", "/ipfs/Qm...")),
            bytes.fromhex(bytes32(required(body, "checksum"), "checksum")[2:]),
        )

    @command("dataset check-deployed 0x0123456789012345678901234567890123456789", js=("dataset.checkDeployedDataset",))
    def check_deployed(self, dataset: str | None = None, /) -> bool:
        """Tell whether there is a dataset at an address.

        Parameters
        ----------
        dataset
            The address; default: the one in ``deployed.json``.

        Source
        ------
        Contract function ``isRegistered`` of the DatasetRegistry.
        """
        where = self._at(dataset)
        return self._chain.registered(self.kind, [where])[where]

    @command(
        "dataset show 0x0123456789012345678901234567890123456789",
        js=("dataset.showDataset", "dataset.showUserDataset"),
        raw=_raw,
    )
    def show(self, dataset: str | int | None = None, /, *, user: str | None = None) -> Dataset:
        """Return a dataset as the chain knows it.

        Parameters
        ----------
        dataset
            Its address, or its number among those of `user`; default: the address in ``deployed.json``.
        user
            Whose, with a number; default: the client's wallet.

        Returns
        -------
        Dataset
            ``address owner registry datasetName datasetMultiaddr datasetChecksum``.

        Raises
        ------
        ObjectNotFoundError
            When there is no such dataset.

        Source
        ------
        Contract ``Dataset``.
        """
        return self._chain.dataset(self._show_at(dataset, user))

    @command(
        "dataset count --user 0x0123456789012345678901234567890123456789",
        js=("dataset.countUserDatasets",),
    )
    def count(self, *, user: str | None = None) -> int:
        """Return how many datasets somebody owns.

        Parameters
        ----------
        user
            Whose; default: the client's wallet.

        Source
        ------
        Contract function ``balanceOf`` of the DatasetRegistry.
        """
        return self._chain.count(self.kind, self._user(user))

    @command(
        "dataset transfer 0x0123456789012345678901234567890123456789 --to 0x1234567890123456789012345678901234567890",
        spends=True,
        js=("dataset.transferDataset",),
    )
    def transfer(self, dataset: str, /, *, to: str) -> Transferred:
        """Give a dataset to somebody else, for good.

        Parameters
        ----------
        dataset
            Its address.
        to
            Who owns it from then on.

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
        return self._transfer(dataset, to)

    @command(
        'dataset publish 0x0123456789012345678901234567890123456789 --price "0.1 RLC"',
        spends=True,
        raw=published_raw,
    )
    def publish(
        self,
        dataset: str | None = None,
        /,
        *,
        price: Amount = 0,
        volume: int | str = 1_000_000,
        tag: Tags | None = None,
        apprestrict: str | None = None,
        workerpoolrestrict: str | None = None,
        requesterrestrict: str | None = None,
        skip_preflight_check: bool = False,
    ) -> Bytes32:
        """Offer a dataset on the market: sign an order for it, publish it and return its hash.

        Parameters
        ----------
        dataset
            Its address; default: the one in ``deployed.json``.
        price
            Of one task, in nRLC or with a unit.
        volume
            How many tasks.
        tag
            The hardware that it needs; default: ``tee,tdx``, what today's pools offer.
        apprestrict
            Only for this app, or those of a group contract.
        workerpoolrestrict
            Only on this pool, or those of a group contract.
        requesterrestrict
            Only for this requester, or those of a group contract.
        skip_preflight_check
            Do not ask the secret service whether it has the dataset's key.

        Returns
        -------
        str
            The order's hash.

        Raises
        ------
        ValidationError
            When an argument is malformed, the dataset is not the wallet's, or the preflight check fails.
        MarketCallError
            When the market refuses; its reason is in the message.

        Source
        ------
        EIP-712 under the hub's ``domain()``; endpoint ``POST /datasetorders`` of the market API.
        """
        return self._publish(
            dataset, price, volume=volume, tag=tag, apprestrict=apprestrict, workerpoolrestrict=workerpoolrestrict,
            requesterrestrict=requesterrestrict, skip_preflight_check=skip_preflight_check,
        )  # fmt: skip

    @command("dataset unpublish 0x0123456789012345678901234567890123456789", raw=unpublished_raw)
    def unpublish(self, dataset: str | None = None, /, *, all: bool = False) -> Bytes32 | tuple[Bytes32, ...]:
        """Take the order that the wallet published last for a dataset off the market; return its hash.

        Who has the order already can still match it until it is cancelled.

        Parameters
        ----------
        dataset
            Its address; default: the one in ``deployed.json``.
        all
            All open orders for it; their hashes are returned.

        Returns
        -------
        str or tuple of str

        Raises
        ------
        MarketCallError
            When the market lists none.

        Source
        ------
        Endpoint ``PUT /datasetorders`` of the market API.
        """
        return self._unpublish(dataset, all=all)
