"""``%iexec`` and ``%%iexec``: a line of words becomes a call of a verb, and the cell gets what it returns."""

from __future__ import annotations

import re
import shlex
import sys
import traceback
from collections import ChainMap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_cell_magic, magics_class, needs_local_scope, no_var_expand

from iexec_nb.errors import IExecError
from iexec_nb.notebook import completion, display

_OF_THIS_CLIENT = {("wallet", "lock"), ("wallet", "unlock")}
_SECRET = re.compile(r"--?(?!show)[\w-]*(password|passphrase|mnemonic|priv(ate)?[-_]?key)[\w-]*", re.IGNORECASE)


@magics_class
class IExecMagics(Magics):
    """The magics of iexec_nb; ``%load_ext iexec_nb`` registers them."""

    @needs_local_scope
    @no_var_expand
    @line_cell_magic
    def iexec(self, line: str, cell: str | None = None, local_ns: Mapping[str, Any] | None = None) -> Any:
        """Call a verb: ``%iexec NOUN VERB ...``; in ``%%iexec`` the command goes on over the lines of the cell.

        ``$name`` stands for the value of a variable. ``--help`` shows a help page, after a noun or a verb too.
        ``--yes`` answers the question of a command that spends. ``--traceback`` shows the whole traceback. A ``;`` at
        the end keeps the value from being displayed.
        """
        text = f"{line}\n{cell or ''}".rstrip()
        words = _words(text.removesuffix(";"))
        from iexec_nb import commands

        _load_verbs()
        regular, options = commands.split(words)
        if not regular or options.help:
            print(commands.help_text(regular), end="")
            return None
        try:
            value = self._call(words, local_ns or {})
        except IExecError:
            if options.traceback:
                traceback.print_exc(file=sys.stderr)
            raise
        return None if text.endswith(";") and self._would_be_displayed(cell) else value

    def _would_be_displayed(self, cell: str | None) -> bool:
        """Tell whether the value is the output of the cell: one that is assigned is not to be lost to a ``;``."""
        typed = self.shell.history_manager.input_hist_raw[-1]  # type: ignore[union-attr]
        return cell is not None or typed.rstrip().rpartition("\n")[2].startswith("%iexec")

    def _call(self, words: Sequence[str], local: Mapping[str, Any]) -> Any:
        from iexec_nb import commands
        from iexec_nb.client import active

        call = commands.parse(words, ChainMap(dict(local), self.shell.user_ns))  # type: ignore[union-attr]
        client = active()
        # To forget the wallet of another client than the one at hand would leave this one open.
        if call.options.session and (call.command.noun, call.command.verb) not in _OF_THIS_CLIENT:
            client = client.with_options(**call.options.session)
        if call.options.answered:
            with client.without_asking():
                return call.on(client)
        return call.on(client)


def load_ipython_extension(ip: Any) -> None:
    """Register the magics and the displays; ``%load_ext iexec_nb`` calls this."""
    ip.register_magics(IExecMagics)
    display.register(ip)
    completion.register(ip)
    from iexec_nb.actions import watch
    from iexec_nb.notebook import transfer
    from iexec_nb.services import transfers

    watch.on_update = _drawn
    transfers.on_download = transfer.drawn


def unload_ipython_extension(ip: Any) -> None:
    """Take back what loading did."""
    for kind in ("line", "cell"):
        ip.magics_manager.magics[kind].pop("iexec", None)
    display.unregister(ip)
    completion.unregister(ip)
    from iexec_nb.actions import watch
    from iexec_nb.services import transfers

    watch.on_update = None
    transfers.on_download = None


def _drawn(updates: Iterator[Any], again: str) -> Iterator[Any]:
    import time

    from iexec_nb.notebook.progress import DELAY_S, Panel

    with Panel("Run", again, delay_s=DELAY_S, clock=time.monotonic) as panel:
        for update in updates:
            panel.add(update)
            yield update


def _words(line: str) -> list[str]:
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise UsageError(f"%iexec: {error}: close the quotes") from None
    for word, following in zip(words, [*words[1:], ""], strict=False):
        value = word.partition("=")[2] or following
        if (option := _SECRET.match(word)) and not value.startswith("$"):
            raise UsageError(
                f"%iexec: {option[0]} is refused: a magic line is kept in the history. Without it you are asked for "
                f"what is needed, or name a variable that holds a Secret: {option[0]} $name"
            )
    return words


def _load_verbs() -> None:
    import iexec_nb.client  # noqa: F401
