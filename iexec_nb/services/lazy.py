"""Opening things on first use, once, also when two threads come first together.

Since Python 3.12 `functools.cached_property` has no lock: two threads could each open a connection, and one of the two
would never be closed.
"""

from __future__ import annotations

from functools import cached_property
from threading import RLock
from typing import Any, Self, TypeVar, overload

T = TypeVar("T")


class lazy(cached_property[T]):
    """A cached property whose function runs once for an object, whatever threads do."""

    @overload
    def __get__(self, instance: None, owner: type[Any] | None = None) -> Self: ...

    @overload
    def __get__(self, instance: object, owner: type[Any] | None = None) -> T: ...

    def __get__(self, instance: object | None, owner: type[Any] | None = None) -> Self | T:
        """Return the value, made on first use."""
        if instance is None:
            return self
        with instance.__dict__.setdefault(f"_lock_of_{self.attrname}", RLock()):
            return super().__get__(instance, owner)
