"""A lazy property is made once for each object, whatever threads do."""

from __future__ import annotations

import threading

from iexec_nb.services.lazy import lazy


class Opened:
    def __init__(self, together: threading.Barrier) -> None:
        self.together = together
        self.made: list[object] = []

    @lazy
    def connection(self) -> object:
        """What is opened."""
        made = object()
        self.made.append(made)
        return made


def test_threads_that_come_together_get_the_same_value() -> None:
    for _ in range(200):
        together = threading.Barrier(4)
        one = Opened(together)
        seen: list[object] = []

        def look(one: Opened = one, seen: list[object] = seen) -> None:
            one.together.wait()
            seen.append(one.connection)

        threads = [threading.Thread(target=look) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(one.made) == 1
        assert set(map(id, seen)) == {id(one.made[0])}


def test_objects_do_not_share_the_value_and_a_removed_one_is_made_again() -> None:
    one, other = Opened(threading.Barrier(1)), Opened(threading.Barrier(1))
    assert one.connection is not other.connection
    before = one.__dict__.pop("connection")
    assert one.connection is not before
