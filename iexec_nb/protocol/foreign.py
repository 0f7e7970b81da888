"""Reading JSON that somebody else wrote, without trusting its depth.

Python's parser recurses once per bracket, and several Ethereum libraries raise the recursion limit to a hundred
thousand when they are imported: from then on, a few hundred kilobytes of ``[`` end the process with a segmentation
fault. So depth is measured before the parser sees the text.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

MAX_DEPTH = 64

_ESCAPED = re.compile(rb"\\.", re.DOTALL)
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


@contextmanager
def same_recursion_limit() -> Iterator[None]:
    """Import eth_account or web3 in here: a dependency of theirs raises the limit a hundredfold, which is undone."""
    limit = sys.getrecursionlimit()
    yield
    sys.setrecursionlimit(limit)


def loads(text: bytes | str, *, max_depth: int = MAX_DEPTH) -> Any:
    """Return the value of JSON text.

    Parameters
    ----------
    text
        UTF-8 bytes, or text.
    max_depth
        How deep lists and objects may be nested.

    Raises
    ------
    ValueError
        When it is not JSON, or nested deeper.
    """
    raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    # Text with few brackets cannot be deep: almost everything that services send takes this way.
    if raw.count(b"[") + raw.count(b"{") > max_depth and not _is_shallow(raw, max_depth):
        raise ValueError(f"JSON nested deeper than {max_depth}")
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("JSON nested too deep") from error


def _is_shallow(raw: bytes, max_depth: int) -> bool:
    # Every second part between quotes is outside of strings; each pass takes the innermost brackets away.
    outside = b"".join(_ESCAPED.sub(b"", raw).split(b'"')[::2])
    brackets = outside.translate(None, _NOT_BRACKETS)
    for _ in range(max_depth):
        if not brackets:
            return True
        brackets = brackets.replace(b"[]", b"").replace(b"{}", b"")
    return not brackets
