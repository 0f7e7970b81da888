"""The noun ``storage``: files on IPFS."""

from __future__ import annotations

from pathlib import Path

from iexec_nb.actions.base import Noun, file_at
from iexec_nb.commands import command, noun
from iexec_nb.protocol.receipts import EncryptedDataset


@noun("storage")
class StorageActions(Noun):
    """Storage: put files on IPFS."""

    @command("storage add ./prices.csv.enc")
    def add(self, source: str | Path | bytes | EncryptedDataset, /) -> str:
        """Upload a file to IPFS and return its multiaddr, such as ``/ipfs/Qm...``.

        Parameters
        ----------
        source
            A path, bytes, or what ``dataset.encrypt`` returned. What is uploaded is public: encrypt it first.

        Returns
        -------
        str
            The multiaddr, for ``dataset.deploy``.

        Raises
        ------
        ValidationError
            When there is no such file.
        IpfsGatewayCallError
            When the node answers another CID than the content has, or the gateway does not serve it.

        Source
        ------
        Endpoint ``POST /api/v0/add`` of an IPFS node.
        """
        content = source.path if isinstance(source, EncryptedDataset) else source
        if isinstance(content, bytes):
            return f"/ipfs/{self._client.ipfs.add(content)}"
        path = file_at(content, "give the path of one file, or bytes")
        return f"/ipfs/{self._client.ipfs.add(path)}"
