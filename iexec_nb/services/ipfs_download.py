"""One download: from whichever gateways, in whichever pieces, until every byte of it is there and right.

The walk through the blocks begins anew with each gateway, and what is there already is stepped over, so that it makes
no difference whether a gateway broke off a moment ago or a program was killed last week. A gateway that got further
than before may go on; one that lies is asked no more; when none of them gets any further, all of them are named.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing

from iexec_nb.errors import IpfsGatewayCallError, UnsafeArchiveError, ValidationError
from iexec_nb.protocol.cid import DAG_PB, RAW, Cid, Location
from iexec_nb.protocol.file_layout import is_leaf, names_file, not_a_file
from iexec_nb.protocol.file_names import problem_of_name, same_name_key
from iexec_nb.protocol.types import shown
from iexec_nb.protocol.unixfs import (
    MAX_BLOCK_BYTES,
    MAX_DEPTH,
    Budget,
    FileReader,
    Node,
    Want,
    entries,
    malformed,
    too_large,
)
from iexec_nb.services.http import Http
from iexec_nb.services.http_stream import Stream
from iexec_nb.services.ipfs_parts import Disk, Memory, Part
from iexec_nb.services.ipfs_source import AT_ONCE, Gateway, GatewayError, Source
from iexec_nb.services.transfers import Progress

PUBLIC = "https://trustless-gateway.link"
"""A gateway for everybody that serves nothing but blocks and CARs; it is named in a hint and never asked unasked."""

_STEP_BYTES = 2**20
_MOST_NAMES = 1_000_000
# A name on the way is a link that is looked at, and no file that is read.
_MOST_NAMES_AS_FILES = _MOST_NAMES // 8
_SHOWN_NAMES = 20
_Path = tuple[str, ...]


class Download:
    """The content of one place on IPFS on its way here.

    Parameters
    ----------
    gateways
        In the order in which they are asked.
    location
        What is wanted.
    place
        Where it grows.
    max_bytes, max_files
        More is refused; files and folders are counted.
    on_progress
        Is told of every piece that arrives.
    """

    def __init__(
        self,
        gateways: Sequence[Http],
        location: Location,
        place: Memory | Disk,
        *,
        max_bytes: int,
        max_files: int,
        on_progress: Progress | None = None,
    ) -> None:
        self._gateways = [Gateway(http) for http in gateways]
        self._location = location
        self._place = place
        self._max_bytes = max_bytes
        self._max_files = max_files
        self._on_progress = on_progress
        # Files of a folder that are complete, and their bytes.
        self._done: set[_Path] = set()
        self._done_bytes = 0
        self._size: int | None = None
        # Bytes that were known to be right at most, and bytes that were there at most.
        self._best = self._most = 0
        self._count = 0
        self._budget = self._new_budget(max_files)

    def run(self) -> None:
        """Bring it here.

        Raises
        ------
        IpfsGatewayCallError
            When no gateway gets any further, or it is a file that is larger than was allowed.
        ValidationError
            When it cannot be read whoever sends it: the content itself is malformed, or there is nothing at the path.
        UnsafeArchiveError
            When the content is made to do harm, or is more than was allowed.
        """
        turn = 0
        while True:
            before = self._best, self._most
            for gateway in [one for one in self._gateways if not one.lied]:
                source = Source(gateway, self._max_bytes)
                with closing(source):
                    try:
                        self._attempt(source)
                        return
                    except GatewayError as failure:
                        gateway.error, gateway.lied = failure.error, failure.lied
            if self._best == before[0] and self._most < before[1] + _STEP_BYTES:
                raise self._failure()
            self._gateways[0].http.pause(turn)
            turn += 1

    def _failure(self) -> IpfsGatewayCallError:
        errors = [gateway.error for gateway in self._gateways if gateway.error is not None]
        error = errors[0]
        error.hint = (
            error.hint or f'another gateway may have it: ipfs_gateway=["{error.context.get("server")}", "{PUBLIC}"]'
        )
        if len(errors) > 1:
            absent = [one for one in errors if one.status in (404, 410)]
            context = {one.http.origin: shown(str(one.error.message), 300) for one in self._gateways if one.error}
            error = IpfsGatewayCallError(
                f"none of {len(errors)} gateways sent {self._location} whole",
                status=(absent or errors)[0].status,
                context=context,
                hint=next((one.hint for one in errors if one.hint), None),
            )
        if self._best:
            whole = "" if self._size is None else f" of {self._size}"
            error.context["arrived"] = f"{self._best}{whole} bytes, all checked"
        if self._place.kept is not None:
            error.context["kept in"] = self._place.kept.name
            # One that sent too much or something else would do so again.
            if not all(gateway.lied for gateway in self._gateways):
                error.hint = "run it again: it goes on from there"
        return error

    def _new_budget(self, max_files: int) -> Budget:
        return Budget(self._location.cid, self._max_bytes, max_files)

    # --- one gateway ---

    def _attempt(self, source: Source) -> None:
        self._count = 0
        self._budget = self._new_budget(_MOST_NAMES_AS_FILES)
        root, path = self._location.cid, self._location.path
        if root.codec not in (RAW, DAG_PB):
            raise not_a_file(root)
        if root.codec == RAW and not path:
            self._whole(source, root, None)
            return
        if root.inline is None:
            stream = source.begin(root, bulk=not path and self._place.is_empty and not self._best)
            if stream is not None:
                with stream:
                    self._only_whole(source, root, path, stream)
                return
        for name in path:
            root = self._below(source, root, name)
        self._count = 0
        self._budget = self._new_budget(self._max_files)
        self._entity(source, root, ())

    def _only_whole(self, source: Source, root: Cid, path: _Path, stream: Stream) -> None:
        if path:
            name = source.gateway.http.origin
            raise source.gateway.failure(
                f"{name} does not serve blocks of IPFS, without which a path cannot be checked"
            )
        self._whole(source, root, stream)

    def _whole(self, source: Source, cid: Cid, stream: Stream | None) -> None:
        """Take a file as the gateway sends it, and check it when it is complete."""
        part = self._place.open(())
        if cid.inline is not None:
            part.cut(0)
            part.write(0, cid.inline)
            self._complete(part)
            return
        part.cut(min(part.present, self._max_bytes))
        if cid.codec == RAW and part.present and names_file(cid, part.read):
            self._complete(part)
            return
        if stream is None or part.present:
            stream = source.whole(cid, start=part.present)
        suspect = part.present > part.verified
        with stream:
            at = stream.first
            if stream.length is not None:
                self._size = at + stream.length
            for chunk in () if (self._size or 0) > self._max_bytes else source.gateway.chunks(stream):
                # A gateway that cannot begin in the middle sends what is here, and known to be right, once more.
                fresh = chunk[max(part.verified - at, 0) :]
                at += len(chunk)
                if at > self._max_bytes:
                    raise source.gateway.excess(self._max_bytes)
                part.write(at - len(fresh), fresh)
                self._tell(at)
        if (self._size or 0) > self._max_bytes:
            raise source.gateway.excess(self._max_bytes)
        part.cut(at)
        if names_file(cid, part.read):
            self._complete(part)
            return
        part.cut(part.verified)
        if not suspect:
            raise source.gateway.lie(cid)
        # What was here before may have been wrong, and not what came.
        self._whole(source, cid, None)

    def _complete(self, part: Part) -> None:
        part.verified = self._size = part.present
        self._note(part)
        self._tell(part.present)

    # --- blocks ---

    def _entity(self, source: Source, cid: Cid, path: _Path) -> None:
        if cid.codec == RAW:
            self._file(source, cid, path)
            return
        node = self._budget.decode(cid, source.get(cid, bulk=not path and self._place.is_empty and not self._best))
        if node.is_folder:
            self._folder(source, cid, node, path)
        elif node.is_file:
            self._file(source, cid, path)
        else:
            raise self._unsafe(f"{'/'.join(path) or cid} is a {node.what}, neither a file nor a folder")

    def _file(self, source: Source, cid: Cid, path: _Path) -> None:
        if path in self._done:
            return
        part = self._place.open(path)
        others = self._done_bytes
        reader = FileReader(cid, max_bytes=self._max_bytes, budget=self._budget)
        while wants := reader.wanted(AT_ONCE):
            want = wants[0]
            if want.size is not None and (want.offset + want.size <= part.verified or part.holds(want)):
                reader.skip()
            else:
                bulk = (want.size is None or want.size > MAX_BLOCK_BYTES) and want.offset >= part.present
                data = reader.take(source.get(want.cid, bulk=bulk, upcoming=self._ahead(wants, part)))
                if others + (reader.size or 0) > self._max_bytes:
                    raise too_large(self._location.cid, others + (reader.size or 0), self._max_bytes)
                part.write(want.offset, data)
                self._size = self._size if path else reader.size
            part.verified = max(part.verified, reader.offset)
            self._note(part)
            self._tell(others + reader.offset)
        part.cut(reader.size or 0)
        self._finish(part, path)

    @staticmethod
    def _ahead(wants: Sequence[Want], part: Part) -> list[Cid]:
        """Return what is wanted next and is not here from an earlier download, right or not."""
        return [one.cid for one in wants[1:] if one.offset + (one.size or 0) > part.present]

    def _finish(self, part: Part, path: _Path) -> None:
        if path:
            self._done.add(path)
            self._done_bytes += part.present
            self._place.shut(path)

    def _folder(self, source: Source, cid: Cid, node: Node, path: _Path) -> None:
        self._place.folder(path, cid)
        names: dict[str, str] = {}
        listed = list(self._listed(source, cid, node, self._max_files))
        for at, (name, child) in enumerate(listed):
            below = (*path, name)
            self._check_name(below, names)
            if below in self._done or self._is_here(child, below):
                continue
            source.get(child, upcoming=[one for _, one in listed[at + 1 : at + AT_ONCE]])
            self._entity(source, child, below)

    def _is_here(self, cid: Cid, path: _Path) -> bool:
        """Tell whether an earlier download left the whole of a file that is one block."""
        if not self._place.has(path):
            return False
        part = self._place.open(path)
        if part.present > MAX_BLOCK_BYTES or not is_leaf(cid, b"".join(part.read())):
            return False
        part.verified = part.present
        self._note(part)
        self._finish(part, path)
        return True

    def _listed(self, source: Source, cid: Cid, node: Node, most: int, depth: int = 0) -> Iterator[tuple[str, Cid]]:
        """Yield the names in a folder and their CIDs; a large folder consists of several nodes."""
        if depth > MAX_DEPTH:
            raise malformed(cid, "a large folder of too many levels")
        found = list(entries(cid, node))
        for at, (name, child) in enumerate(found):
            self._count += 1
            if self._count > most:
                raise self._unsafe(f"it holds more than {most} files and folders", "max_files")
            if name is not None:
                yield name, child
                continue
            upcoming = [one for below, one in found[at + 1 : at + AT_ONCE] if below is None]
            part = self._budget.decode(child, source.get(child, upcoming=upcoming))
            if not part.fanout:
                raise malformed(child, "it is no part of a large folder")
            yield from self._listed(source, child, part, most, depth + 1)

    def _check_name(self, path: _Path, names: dict[str, str]) -> None:
        name = path[-1]
        problem = "a name holds a slash" if "/" in name else problem_of_name(name) or problem_of_name("/".join(path))
        key = same_name_key(name)
        if problem is None and key in names:
            problem = f"{shown(names[key])} and {shown(name)} are the same name"
        if problem is not None:
            raise self._unsafe(f"{problem}: {shown('/'.join(path))}")
        names[key] = name

    def _below(self, source: Source, cid: Cid, name: str) -> Cid:
        node = self._budget.decode(cid, source.get(cid))
        if not node.is_folder:
            raise ValidationError(f"{shown(name)} is not there: {cid} is a {node.what}", hint="leave it out")
        names: list[str] = []
        for found, child in self._listed(source, cid, node, _MOST_NAMES):
            if found == name:
                return child
            if len(names) < _SHOWN_NAMES:
                names.append(found)
        listed = ", ".join(shown(one, 40) for one in names)
        raise ValidationError(
            f"there is no {shown(name)} in {cid}",
            context={"it holds": listed or "nothing"},
            hint="names have to be exact",
        )

    def _unsafe(self, reason: str, limit: str = "") -> UnsafeArchiveError:
        return UnsafeArchiveError(
            f"{self._location} was not kept: {reason}",
            hint=f"if you trust who made it, raise {limit}" if limit else "ask whoever made it for another form of it",
        )

    def _note(self, part: Part) -> None:
        self._best = max(self._best, self._done_bytes + part.verified)

    def _tell(self, arrived: int) -> None:
        self._most = max(self._most, arrived)
        if self._on_progress is not None:
            self._on_progress(arrived, self._size)
