"""The one description of every command.

A verb is a method of a class in `actions`; its decorator, signature and docstring are all that says what the command
is (`table`). The magic ``%iexec``, the shell command ``iexec-nb``, their completion, their help and the forms are read
from that: a line of words becomes a call in `line`, a page of help in `pages`, a list of what may follow in
`completion`.
"""

from iexec_nb.commands.completion import Known, completions
from iexec_nb.commands.line import Call, Options, parse, split
from iexec_nb.commands.pages import help_text
from iexec_nb.commands.table import COMMANDS, NOUNS, Command, JsonNumber, command, noun

__all__ = [
    "COMMANDS",
    "NOUNS",
    "Call",
    "Command",
    "JsonNumber",
    "Known",
    "Options",
    "command",
    "completions",
    "help_text",
    "noun",
    "parse",
    "split",
]
