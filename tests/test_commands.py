"""The command table: every command explains itself, parses its own example, and says what was wrong with a line."""

from __future__ import annotations

import inspect
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

import iexec_nb.client
from iexec_nb.commands import COMMANDS, NOUNS, Command, Known, completions, help_text, parse, split
from iexec_nb.errors import ValidationError
from iexec_nb.protocol.types import Secret

ROOT = Path(__file__).resolve().parent.parent
ALL = sorted(COMMANDS)
VERBS = {  # every verb that the first computation needs
    "wallet show", "account show", "account deposit", "account withdraw", "app deploy", "app show", "app run",
    "dataset encrypt", "dataset deploy", "dataset show", "dataset push-secret", "dataset check-secret",
    "workerpool deploy", "workerpool show", "category show", "category count", "order create", "order sign",
    "order publish", "order show", "order match", "orderbook app", "orderbook dataset", "orderbook workerpool",
    "orderbook requester", "deal show", "deal claim", "task show", "task claim",
    "result generate-encryption-keypair", "result push-encryption-key", "result check-encryption-key", "result decrypt",
    "storage add",
}  # fmt: skip
INTERNALS = re.compile(
    r"<class|<function|lambda|object at 0x|\x00|Union\[|Optional\[|NoneType|\bNone\b|stand_in|\bstr\b"
)
ADDRESS = "0x" + "12" * 20


@pytest.fixture(params=ALL, ids=" ".join)
def one(request: pytest.FixtureRequest) -> Command:
    return COMMANDS[request.param]


def objects() -> dict[str, object]:
    return {
        name: object()
        for name in ("order", "orders", "signed", "app", "pool", "request", "dataset", "encrypted", "key", "token")
    }


def test_every_verb_of_the_journeys_is_there() -> None:
    assert {" ".join(key) for key in COMMANDS} >= VERBS


def test_every_noun_is_an_attribute_of_the_client_and_has_a_summary() -> None:
    client = iexec_nb.client.IExec("arbitrum-mainnet")
    for name, summary in NOUNS.items():
        assert summary.endswith(".")
        assert hasattr(client, name.replace("-", "_"))
    assert {command.noun for command in COMMANDS.values()} == set(NOUNS)


def test_a_command_has_a_summary_and_an_example_that_parses(one: Command) -> None:
    assert re.fullmatch(r"[A-Z].*[.]", one.summary), one.summary
    words = shlex.split(one.example)
    assert one.example.startswith(one.line)
    call = parse(words, objects())
    assert call.command is one
    inspect.signature(one.function).bind("client", *call.args, **call.kwargs)


def test_a_command_has_a_help_page_for_people(one: Command) -> None:
    page = help_text([one.noun, one.verb])
    assert one.summary.replace("`", "")[:40] in re.sub(r"\s+", " ", page)
    assert f"%iexec {one.line}" in page
    assert f"%iexec {one.example}" in page
    assert not INTERNALS.search(page), INTERNALS.search(page)
    for heading in ("Returns", "Raises", "----"):
        assert heading not in page
    for parameter in list(inspect.signature(one.function).parameters.values())[1:]:
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD:
            assert f"--{parameter.name.rstrip('_').replace('_', '-')}" in page


def test_a_parameter_of_a_command_is_explained(one: Command) -> None:
    doc = inspect.getdoc(one.function) or ""
    explained = set(re.findall(r"^(\w[\w, ]*)$(?=\n    \S)", doc.partition("Parameters\n---")[2], re.MULTILINE))
    names = {name.strip() for line in explained for name in line.split(",")}
    for parameter in list(inspect.signature(one.function).parameters)[1:]:
        assert parameter in names, f"{one.noun} {one.verb}: {parameter}"


def test_a_command_names_its_source_and_what_it_returns(one: Command) -> None:
    doc = inspect.getdoc(one.function) or ""
    assert "Source\n------" in doc or (one.noun, one.verb) in {
        ("order", "create"), ("order", "estimate"), ("order", "explain"),
        ("result", "generate-encryption-keypair"), ("result", "decrypt"),
    }  # fmt: skip


def test_an_alias_is_the_same_command(one: Command) -> None:
    for alias in one.aliases:
        words = shlex.split(one.example)
        assert parse([one.noun, alias, *words[2:]], objects()).command is one


def test_every_parameter_has_its_text_on_the_help_page_also_where_several_share_one() -> None:
    page = help_text(["order", "estimate"], width=200)
    for name in ("--apporder", "--workerpoolorder", "--requestorder", "--datasetorder"):
        lines = [line for line in page.splitlines() if line.startswith("│") and name in line]
        assert len(lines) == 1
        assert "orders" in lines[0].partition(name)[2], lines[0]


def test_a_noun_and_everything_have_a_help_page() -> None:
    page = help_text([])
    for noun in NOUNS:
        assert noun in page
        assert f"%iexec {noun}" in help_text([noun])
    assert not INTERNALS.search(page)
    assert "iexec-nb app run" in help_text(["app", "run"], "iexec-nb")


def test_help_is_as_wide_as_asked() -> None:
    for key in ALL:
        page = help_text(key, width=80).partition("\nExamples\n")[0]
        assert max(map(len, page.splitlines())) <= 80


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", ("not complete", "app")),
        ("ap", ("'ap'", "did you mean 'app'?")),
        ("orderboks workerpool", ("'orderboks'", "did you mean 'orderbook'?")),
        ("app rum", ("'rum'", "did you mean 'run'?")),
        ("app", ("deploy", "run", "show")),
        ("nonsense", ("'nonsense'", "wallet")),
        ("app nonsense", ("'nonsense'", "deploy")),
        ("wallet get-ether", ("'get-ether'", "faucets", "sandbox")),
        ("wallet getRLC", ("'getRLC'", "faucets")),
        ("wallet bridge-to-sidechain 5", ("bridge",)),
        ("app transfer", ("app", "--help")),
        (f"app run {ADDRESS} --categry 0", ("--categry", "category")),
        (f"app run {ADDRESS} --category", ("category",)),
        (f"app run {ADDRESS} too many", ("too",)),
        (f"wallet show {ADDRESS} {ADDRESS}", (ADDRESS,)),
        ("account deposit", ("amount", "account deposit")),
        (f"app transfer {ADDRESS}", ("--to",)),
        ("order sign $missing", ("'missing'", "variable")),
        ("$order sign", ("command",)),
        ("order $sign", ("command",)),
        ("--chain", ("command",)),
    ],
)
def test_a_wrong_line_says_what_is_wrong_and_what_to_type(line: str, words: tuple[str, ...]) -> None:
    with pytest.raises(ValidationError) as caught:
        parse(shlex.split(line), {"order": object()})
    text = str(caught.value)
    for word in words:
        assert word in text
    assert caught.value.hint
    assert not INTERNALS.search(text), text
    assert "\n\n" not in text
    assert "╭" not in text


def test_a_dollar_name_is_the_object_itself_anywhere_on_the_line() -> None:
    order, app = object(), object()
    call = parse(
        shlex.split("order match --apporder $app --workerpoolorder $order --requestorder $app"),
        {"order": order, "app": app},
    )
    assert call.kwargs["apporder"] is app
    assert call.kwargs["workerpoolorder"] is order
    assert parse(["order", "sign", "$order"], {"order": order}).args == (order,)
    amounts = parse(
        shlex.split("order create dataset --dataset $app --datasetprice $order"), {"order": 5, "app": ADDRESS}
    )
    assert amounts.kwargs == {"dataset": ADDRESS, "datasetprice": 5}


def test_money_with_a_dollar_is_no_variable() -> None:
    assert parse(["account", "deposit", "$5"]).args == ("$5",)


def test_flags_are_flags_and_values_stay_text() -> None:
    call = parse(shlex.split(f"app run {ADDRESS} --encrypt-result --category 3 --trust 1 --max-price '1 RLC' --watch"))
    assert call.args == (ADDRESS,)
    assert call.kwargs == {
        "encrypt_result": True, "category": "3", "trust": "1", "max_price": "1 RLC", "watch": True,
    }  # fmt: skip
    assert "encrypt_result" not in parse(["app", "run", ADDRESS]).kwargs


def test_lists_repeat_and_a_tag_may_be_a_list_of_commas() -> None:
    call = parse(
        shlex.split(f"app run {ADDRESS} --input-files https://a.test/1 --input-files https://a.test/2 --secret 1=a")
    )
    assert call.kwargs["input_files"] == ["https://a.test/1", "https://a.test/2"]
    assert call.kwargs["secrets"] == ["1=a"]
    tagged = parse(shlex.split(f"app run {ADDRESS} --tag tee,tdx")).kwargs["tag"]
    assert tagged in ("tee,tdx", ["tee,tdx"])


def test_arguments_that_look_like_options_reach_the_app() -> None:
    call = parse(["app", "run", ADDRESS, "--args=--fast -n 3 --name 'a b'"])
    assert call.kwargs["args"] == "--fast -n 3 --name 'a b'"


def test_values_with_unicode_spaces_and_equals_stay_whole() -> None:
    call = parse(["app", "deploy", "--name", "Ü ☃ = x", "--multiaddr", "docker.io/a:1"])
    assert call.kwargs["name"] == "Ü ☃ = x"


KNOWN = Known(chains=["arbitrum-mainnet", "dev"], addresses=[ADDRESS, "0x" + "ab" * 20], names=["order", "orders"])


@pytest.mark.parametrize(
    ("line", "current", "offered"),
    [
        ("", "orderb", ["orderbook"]),
        ("", "inf", ["info"]),
        ("app", "ru", ["run"]),
        ("app run", "--encrypt", ["--encrypt-result"]),
        (f"app run {ADDRESS} --encrypt-result", "--encrypt", []),
        (f"app run {ADDRESS} --secret 1=a", "--sec", ["--secrets", "--secret"]),
        ("wallet show --chain", "", ["arbitrum-mainnet", "dev"]),
        ("wallet show --chain", "d", ["dev"]),
        ("--chain dev wallet", "sho", ["show"]),
        ("app run", "0x1", [ADDRESS]),
        (f"app run {ADDRESS} --workerpool", "0xa", ["0x" + "ab" * 20]),
        ("order sign", "$order", ["$orders"]),
        ("order create", "wo", ["workerpool"]),
        ("orderbook workerpool", "--require", ["--require-tag"]),
        ("nonsense", "", []),
        ("app nonsense", "", []),
    ],
)
def test_what_follows_is_completed_from_what_is_known(line: str, current: str, offered: list[str]) -> None:
    assert completions(line.split(), current, KNOWN) == offered


def test_nouns_verbs_and_options_are_all_offered() -> None:
    assert set(completions([], "")) >= set(NOUNS)
    for noun, verb in ALL:
        assert verb in completions([noun], "")
        for parameter in COMMANDS[noun, verb].parameters:
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
                assert f"--{parameter.name.rstrip('_').replace('_', '-')}" in completions([noun, verb], "--")
        assert "--chain" in completions([noun, verb], "--")


@pytest.mark.parametrize(
    ("line", "rest", "answered"),
    [
        ("account deposit 5 --yes", "account deposit 5", True),
        ("account deposit 5 --force", "account deposit 5", True),
        ("account deposit 5", "account deposit 5", False),
        ("dataset encrypt x --force", "dataset encrypt x --force", True),
        ("result generate-keys --force --yes", "result generate-keys --force", True),
    ],
)
def test_the_answer_to_the_question_is_taken_off_the_line(line: str, rest: str, answered: bool) -> None:
    words, options = split(line.split())
    assert (words, options.answered) == (rest.split(), answered)


@pytest.mark.parametrize("place", [0, 2, 4])
def test_options_of_every_command_stand_anywhere(place: int) -> None:
    words = f"account show {ADDRESS}".split()
    words[place:place] = [
        "--chain",
        "dev",
        "--gas-price",
        "1",
        "gwei",
        "--confirms=3",
        "--raw",
        "--wallet-address",
        ADDRESS,
    ]
    call = parse(words)
    assert call.args == (ADDRESS,)
    assert call.options.session == {"chain": "dev", "gas_price": "1 gwei", "confirms": "3", "wallet_address": ADDRESS}
    assert call.options.raw
    assert not call.options.quiet


def test_a_value_is_a_value_whatever_it_looks_like() -> None:
    for value in ("--raw", "--fast -n 3", "-h", "--chain dev", "--yes"):
        call = parse(["app", "run", ADDRESS, "--args", value, "--category", "0"])
        assert call.kwargs == {"args": value, "category": "0"}
        assert call.options == parse(["app", "run", ADDRESS]).options


def test_an_option_with_an_optional_value_stands_alone_or_with_it() -> None:
    name = "0x" + "34" * 32
    call = parse(["order", "show", "--app", name, "--dataset", "--deals"])
    assert call.kwargs == {"app": name, "dataset": True, "deals": True}


def test_an_amount_takes_its_unit_as_a_word_of_its_own() -> None:
    assert parse(["app", "publish", ADDRESS, "--price", "1", "RLC"]).kwargs["price"] == "1 RLC"
    assert parse(["app", "publish", "--price", "0.5", "RLC", "--volume", "3", ADDRESS]).args == (ADDRESS,)
    order = parse(["order", "create", "app", "--app", ADDRESS, "--appprice", "1", "RLC"])
    assert order.kwargs["appprice"] == "1 RLC"


@pytest.mark.parametrize(
    ("line", "amount"),
    [
        ("wallet send-RLC 5 --to X", "5 RLC"),
        ("wallet send-RLC '5 nRLC' --to X", "5 nRLC"),
        ("wallet send-ether 0.1 --to X", "0.1 ether"),
        ("account deposit 5", "5"),
    ],
)
def test_a_bare_number_has_the_unit_that_the_cli_gives_it(line: str, amount: str) -> None:
    assert parse(shlex.split(line)).args == (amount,)
    assert parse(["wallet", "send-RLC", "5", "nRLC", "--to", "X"]).args == ("5", "nRLC")


def test_the_spelling_of_an_option_does_not_count() -> None:
    for option in ("--dataset-restrict", "--datasetrestrict", "--datasetRestrict", "--dataset_restrict"):
        assert parse(["app", "publish", ADDRESS, option, ADDRESS]).kwargs["datasetrestrict"] == ADDRESS


def test_a_secret_stands_on_no_line_that_is_kept() -> None:
    words = ["requester", "push-secret", "my-secret", "--secret-value", "hunter2"]
    with pytest.raises(ValidationError) as caught:
        parse(words)
    assert "hunter2" not in str(caught.value)
    assert "$secret_value" in str(caught.value)
    held = Secret("hunter2")
    assert parse([*words[:-1], "$held"], {"held": held}).kwargs["secret_value"] is held
    private = parse(words, private=True).kwargs["secret_value"]
    assert isinstance(private, Secret)
    assert private.reveal() == "hunter2"
    key = "0x" + "5e" * 32
    with pytest.raises(ValidationError) as refused:
        parse(["wallet", "import", key])
    assert key[4:] not in str(refused.value)


def test_a_word_behind_two_hyphens_is_an_argument() -> None:
    assert parse(["app", "show", "--user", ADDRESS, "--", "3"]).args == ("3",)


def test_a_shortcut_needs_no_noun() -> None:
    assert parse(["info", "--chain", "dev"]).command is COMMANDS["hub", "info"]
    assert parse(["init", "--skip-wallet"]).command is COMMANDS["project", "init"]


def test_a_verb_without_an_underscore_or_with_one_is_the_same() -> None:
    assert parse(["dataset", "push_secret", ADDRESS]).command is COMMANDS["dataset", "push-secret"]


def mentioned() -> set[tuple[str, str]]:
    """Every ``%iexec noun verb`` or ``iexec-nb noun verb`` that is written anywhere for people to type."""
    texts = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "iexec_nb").rglob("*.py"))]
    texts += [path.read_text(encoding="utf-8") for path in [*ROOT.glob("*.md"), *(ROOT / "notebooks").glob("*.ipynb")]]
    return {found for text in texts for found in re.findall(r"(?:%iexec|iexec-nb) ([a-z]+) ([a-z][a-z-]+)", text)}


def test_every_command_that_is_written_for_people_to_type_exists() -> None:
    lines = mentioned()
    assert ("category", "count") in lines
    for noun, verb in lines:
        known = noun not in NOUNS or (noun, verb) in COMMANDS or any(verb in c.aliases for c in COMMANDS.values())
        assert known, f"{noun} {verb}"


def test_no_command_is_named_like_another_of_its_noun() -> None:
    for noun in NOUNS:
        names = [
            name for command in COMMANDS.values() if command.noun == noun for name in (command.verb, *command.aliases)
        ]
        assert len(names) == len(set(names))


def test_a_call_reaches_the_verb_of_the_client() -> None:
    class Fake:
        class account:
            @staticmethod
            def deposit(*args: Any, **kwargs: Any) -> Any:
                return args, kwargs

    assert parse(["account", "deposit", "1", "RLC"]).on(Fake()) == (("1", "RLC"), {})
