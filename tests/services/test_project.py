"""The files of a project: the CLI's of every version are read, written whole, and never overwritten when broken."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from iexec_nb.errors import ConfigurationError, IExecError, ValidationError
from iexec_nb.protocol.networks import network
from iexec_nb.protocol.types import Secret
from iexec_nb.services import project_files
from iexec_nb.services.project import Project

PROJECTS = Path(__file__).resolve().parent.parent / "projects"
VERSIONS = ("6.0.1", "7.2.5", "8.24.0")
HERE = "0x01fF1ed8de6c2af0cAEE4C5D6DD8eeF70d1d7Ab0"
THERE = "0x7bd4783FDCAD405A28052a0d1f11236A741da593"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


@pytest.fixture(params=VERSIONS)
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Project:
    """A folder as the CLI of that version leaves it."""
    shutil.copytree(PROJECTS / request.param, tmp_path / "project")
    return Project(tmp_path / "project")


def put(project: Project, name: str, text: str) -> None:
    project.path(name).write_text(text, encoding="utf-8")


def chain(project: Project, **entry: Any) -> None:
    put(project, "chain.json", json.dumps({"default": "dev", "chains": {"dev": entry}}, indent=2))


def test_a_project_is_where_iexec_json_or_chain_json_is(project: Project) -> None:
    assert not project.exists
    put(project, "deployed.json", "{}")
    assert not project.exists
    put(project, "chain.json", "{}")
    assert project.exists


def test_the_working_folder_is_the_project(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert Project().folder == tmp_path


def test_folders_of_every_version_of_the_cli_are_read(old: Project) -> None:
    assert old.resource("app")["type"] == "DOCKER"
    assert old.resource("dataset")["name"] == "my-dataset"
    assert old.resource("workerpool")["description"] == "my-workerpool"
    assert old.resource("category")["workClockTimeRef"] == "100"
    for kind in ("app", "dataset", "workerpool", "request"):
        assert old.order(kind)["volume"] == ("1000000" if kind in ("app", "dataset") else "1")
    assert old.deployed("app", 134) == HERE
    assert old.deployed("app", 65535) == HERE
    assert old.deployed("workerpool", 134) is None
    signed = old.signed_order("app", 134)
    assert signed is not None
    assert signed["app"] == HERE
    assert old.signed_order("dataset", 134) is None
    assert old.signed_order("app", 1) is None


@pytest.mark.parametrize("name", ["iexec.json", "chain.json", "deployed.json", "orders.json"])
def test_a_file_that_is_written_as_it_was_read_keeps_every_byte(old: Project, name: str) -> None:
    before = old.path(name).read_bytes()
    old.update(name, lambda content: None)
    assert old.path(name).read_bytes() == before


def test_what_a_version_does_not_know_stays_where_it_was(old: Project) -> None:
    content = old.read("iexec.json")
    content["x-mine"] = {"b": [1.5, None], "a": "é"}
    old.write("iexec.json", {"x-first": 1, **content})
    old.set_resource("app", {"name": "other"})
    old.set_order("app", {"app": HERE})
    after = old.read("iexec.json")
    assert list(after) == ["x-first", *content]
    assert after["x-mine"] == {"b": [1.5, None], "a": "é"}
    assert after["app"] == {"name": "other"}
    assert after["order"]["apporder"] == {"app": HERE}
    assert after["order"]["datasetorder"] == content["order"]["datasetorder"]


# What each version's chain.json means, by the CLI's rules: file over defaults, defaults of the id.
DEV = {"rpc": "http://localhost:8545", "hub_address": "0xC129e7917b7c7DeDfAa5Fff1FB18d5D7050fE8ca", "native": True,
       "market": "http://localhost:3000", "ipfs_gateway": "http://localhost:8080", "chain_id": 65535}  # fmt: skip


@pytest.mark.parametrize(
    ("version", "asked", "expected"),
    [
        ("6.0.1", None, {"name": "viviani", "chain_id": 133, "rpc": "https://viviani.iex.ec"}),
        ("6.0.1", "dev", {**DEV, "sms": "http://localhost:5000", "compass": None}),
        ("6.0.1", "134", {"name": "bellecour", "chain_id": 134}),
        ("6.0.1", 134, {"name": "bellecour", "chain_id": 134}),
        ("6.0.1", "65535", {"name": "dev"}),
        ("6.0.1", "enterprise-testnet",
         {"chain_id": 5, "rpc": "http://localhost:8541", "hub_address": "0x0bf375A6238359CE14987C2285B8B099eE8e8709"}),
        ("6.0.1", "dev-enterprise",
         {"chain_id": 5, "hub_address": "0x0bf375A6238359CE14987C2285B8B099eE8e8709",
          "sms": "https://v7.sms-enterprise.goerli.iex.ec"}),
        ("7.2.5", None, {"name": "viviani"}),
        ("7.2.5", "dev", {**DEV, "sms": "http://localhost:5000"}),
        ("8.24.0", None, {"name": "bellecour", "sms": "https://sms.iex.ec"}),
        ("8.24.0", "dev", {**DEV, "sms": "http://localhost:13309", "compass": "http://localhost:8069",
                           "poco_subgraph": "http://localhost:8000/subgraphs/name/bellecour/poco-v5"}),
        ("8.24.0", "arbitrum-sepolia-testnet",
         {"rpc": "https://node.example/v3/NODE-KEY", "hub_address": "0xB2157BF2fAb286b2A4170E3491Ac39770111Da3E",
          "live": True, "sms": "https://sms.arbitrum-sepolia-testnet.iex.ec"}),
        ("8.24.0", 42161, {"name": "arbitrum-mainnet", "rpc": "https://arb1.arbitrum.io/rpc"}),
    ],
)  # fmt: skip
def test_a_chain_is_what_the_file_says_and_else_its_default(version: str, asked: Any, expected: dict[str, Any]) -> None:
    found = Project(PROJECTS / version).network(asked)
    assert {name: getattr(found, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("asked", "framework", "sms"),
    [
        ("dev", "scone", "http://localhost:13300"),
        ("dev", "TDX", "http://localhost:13310"),
        ("dev", None, "http://localhost:13309"),
        ("bellecour", "gramine", "https://sms.gramine.v8-bellecour.iex.ec"),
        ("arbitrum-mainnet", "tdx", "https://sms.arbitrum-mainnet.iex.ec"),
    ],
)
def test_a_chain_with_a_secret_service_for_each_framework_gives_the_one_that_is_meant(
    asked: str, framework: str | None, sms: str
) -> None:
    assert Project(PROJECTS / "8.24.0").network(asked, tee_framework=framework).sms == sms


def test_a_framework_without_a_secret_service_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="Missing sms for tee framework gramine"):
        Project(PROJECTS / "8.24.0").network("arbitrum-mainnet", tee_framework="gramine")
    with pytest.raises(ValidationError, match="'sgx' is not a valid TEE framework"):
        Project(PROJECTS / "8.24.0").network("dev", tee_framework="sgx")


def test_of_one_secret_service_only_that_one_is_meant(project: Project) -> None:
    chain(project, id="5", host="http://a.test", sms={"tdx": "http://sms.test"})
    assert project.network().sms == "http://sms.test"


def test_a_chain_that_the_file_does_not_change_is_the_known_one() -> None:
    old = Project(PROJECTS / "8.24.0")
    assert old.network("bellecour") is network("bellecour")
    assert old.default_chain == "bellecour"
    assert old.chains == ("mainnet", "bellecour", "arbitrum-mainnet", "arbitrum-sepolia-testnet", "dev")
    assert old.has_chain("134")
    assert not old.has_chain("goerli")


def test_whoever_signs_can_see_that_a_file_chose_the_addresses() -> None:
    assert Project(PROJECTS / "8.24.0").network("arbitrum-sepolia-testnet").chosen_by_file == ("host",)


def test_the_id_goes_before_the_name_and_the_name_of_the_node_is_known(project: Project) -> None:
    put(
        project,
        "chain.json",
        '{"chains": {"bellecour": {"id": "7", "host": "http://a.test"}, "x": {"id": "1", "host": "134"}}}',
    )
    other = project.network("bellecour")
    assert (other.chain_id, other.hub_address, other.sms) == (7, None, None)
    assert project.network("x").rpc == "https://bellecour.iex.ec"


@pytest.mark.parametrize(
    ("asked", "message", "hint"),
    [
        ("goerly", 'Missing "goerly" chain in "chain.json"', "'goerli'"),
        ("arbitrum-mainnet", 'Missing "arbitrum-mainnet" chain in "chain.json"', '"arbitrum-mainnet": {}'),
        ("new", 'Missing "new" chain in "chain.json"', '"host": "https://..."'),
        ("mainnet", 'Missing RPC host, no "host" key in "chain.json" and no default value for chain 1', '"host"'),
    ],
)
def test_a_chain_that_is_not_there_is_said_with_what_to_do(asked: str, message: str, hint: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Project(PROJECTS / "6.0.1").network(asked)
    assert caught.value.message == message
    assert hint in str(caught.value.hint)


@pytest.mark.parametrize("asked", [True, 1.5, [], b"dev"])
def test_what_is_no_chain_is_refused(project: Project, asked: Any) -> None:
    chain(project, id="5", host="http://a.test")
    with pytest.raises(ValidationError, match="is not a chain"):
        project.network(asked)


def test_no_default_and_no_chain_says_to_give_one(project: Project) -> None:
    put(project, "chain.json", '{"chains": {}}')
    with pytest.raises(ConfigurationError, match=r'Missing chain parameter. Check your "chain.json" file'):
        project.network()
    put(project, "chain.json", '{\n"chains": {},\n"default": "x"}')
    with pytest.raises(ConfigurationError, match='Missing "x" chain') as caught:
        project.network()
    assert caught.value.context["line"] == 3


# file, its text, what is said, line, key
BROKEN = [
    ("chain.json", "", "is not valid JSON", 1, None),
    ("chain.json", '{\n  "default": "a",\n  "chains": {\n    "a": {', "is not valid JSON", 4, "chains.a"),
    ("chain.json", '{\n  "chains": {}\n  "default": "a"\n}', "is not valid JSON", 3, "chains"),
    ("chain.json", '{"chains": {},}', "is not valid JSON", 1, "chains"),
    ("chain.json", "{'chains': {}}", "is not valid JSON", 1, "'chains'"),
    ("chain.json", "[]", "holds a list, not an object", 1, None),
    ("chain.json", '"text"', "holds text, not an object", 1, None),
    ("chain.json", "null", "holds null, not an object", 1, None),
    ("chain.json", "\ufeff{}", "byte order mark", 1, None),
    ("chain.json", '{\n"chains": {"a": {"id": NaN}}}', "NaN", 2, "chains.a.id"),
    ("chain.json", "{}", "chains is a required field", 1, None),
    ("chain.json", '{"chains": []}', "chains in chain.json is not an object", 1, "chains"),
    ("chain.json", '{"chains": {\n"a": 3}}', '"chains.a" in chain.json is a number', 2, "chains.a"),
    ("chain.json", '{"chains": {\n"a": null}}', '"chains.a" in chain.json is null', 2, "chains.a"),
    ("chain.json", '{"chains": {},\n"defualt": "a"}', 'Unknown key "defualt"', 2, "defualt"),
    ("chain.json", '{"chains": {},\n"default": 5}', "5 is not a valid default", 2, "default"),
    ("chain.json", '{"chains": {"a": {\n"hubb": "0x"}}}', 'Unknown key "hubb"', 2, "chains.a.hubb"),
    ("chain.json", '{"chains": {"a": {\n"id": 5}}}', "5 is not a valid id", 2, "chains.a.id"),
    ("chain.json", '{"chains": {"a": {\n"id": "0x5"}}}', "'0x5' is not a valid id", 2, "chains.a.id"),
    ("chain.json", '{"chains": {"a": {\n"id": "٣"}}}', "is not a valid id", 2, "chains.a.id"),
    ("chain.json", '{"chains": {"a": {\n"hub": "0x12"}}}', "'0x12' is not a valid hub", 2, "chains.a.hub"),
    ("chain.json", '{"chains": {"a": {\n"host": "localhost:8545"}}}', "is not a valid host", 2, "chains.a.host"),
    ("chain.json", '{"chains": {"a": {\n"host": null}}}', "None is not a valid host", 2, "chains.a.host"),
    ("chain.json", '{"chains": {"a": {\n"sms": "ftp://a"}}}', "is not a valid sms", 2, "chains.a.sms"),
    ("chain.json", '{"chains": {"a": {\n"sms": {"sgx": "http://a"}}}}', 'Unknown key "sgx"', 2, "chains.a.sms.sgx"),
    ("chain.json", '{"chains": {"a": {\n"sms": {"tdx": 5}}}}', "sms.tdx is not valid", 2, "chains.a.sms.tdx"),
    ("chain.json", '{"chains": {"a": {\n"iexecGateway": {}}}}', "valid iexecGateway", 2, "chains.a.iexecGateway"),
    ("chain.json", '{"chains": {"a": {\n"native": "yes"}}}', "'yes' is not a valid native", 2, "chains.a.native"),
    ("chain.json", '{"chains": {"a": {\n"flavour": "x"}}}', "'x' is not a valid flavour", 2, "chains.a.flavour"),
    ("chain.json", '{"chains": {"a": {\n"bridge": {}}}}', "bridgedChainName is a required", 2, "chains.a.bridge"),
    ("chain.json", '{"chains": {"a": {\n"bridge": {"bridgedChainName": "b",\n"contract": "x"}}}}', "bridge.contract", 3,
     "chains.a.bridge.contract"),
    ("chain.json", '{"chains": {},\n"providers": {"x": 1}}', 'Unknown key "x"', 2, "providers.x"),
    ("chain.json", '{"chains": {\n"a": {"host": "http://a.test"}}, "default": "a"}', "Missing id", 2, "chains.a"),
    ("iexec.json", '{"app": ', "is not valid JSON", 1, "app"),
    ("iexec.json", '{\n"app": []}', '"app" in iexec.json is a list', 2, "app"),
    ("iexec.json", '{\n"app": null}', '"app" in iexec.json is null', 2, "app"),
    ("iexec.json", '{"a": {},\n"order": {\n"apporder": 5}}', '"order.apporder" in iexec.json is a number', 3,
     "order.apporder"),
    ("iexec.json", '{\n"order": "x"}', '"order" in iexec.json is text', 2, "order"),
    ("deployed.json", '{\n"apps": {}}', 'Unknown key "apps"', 2, "apps"),
    ("deployed.json", '{\n"app": "0x"}', '"app" in deployed.json is text', 2, "app"),
    ("deployed.json", '{"app": {\n"134": "0x12"}}', "0x12 is not a valid address", 2, "app.134"),
    ("deployed.json", '{"app": {\n"134": null}}', "None is not a valid address", 2, "app.134"),
    ("deployed.json", '{"app": {\n"bellecour": "' + HERE + '"}}', "bellecour is not a valid", 2,
     "app.bellecour"),
    ("orders.json", '{"134":\n {"apporder": 5}}', '"134.apporder" in orders.json is a number', 2, "134.apporder"),
    ("orders.json", '{"134": {"apporder": {"app": "0x', "is not valid JSON", 1, "134.apporder.app"),
    ("orders.json", '{\n"134": []}', '"134" in orders.json is a list', 2, "134"),
]  # fmt: skip


def use(project: Project, name: str) -> None:
    """Read from a file all that a verb reads from it."""
    if name == "chain.json":
        project.network()
    elif name == "iexec.json":
        project.order("app") if '"order"' in project.path(name).read_text() else project.resource("app")
    elif name == "deployed.json":
        project.deployed("app", 134)
    else:
        project.signed_order("app", 134)


def change(project: Project, name: str) -> None:
    """Write into a file what a verb writes into it."""
    if name == "chain.json":
        project.write(name, {"chains": {}})
    elif name == "iexec.json":
        if '"order"' in project.path(name).read_text():
            project.set_order("app", {})
        else:
            project.set_resource("app", {})
    elif name == "deployed.json":
        project.set_deployed("app", 134, HERE)
    else:
        project.save_signed(134, {"app": {}})


@pytest.mark.parametrize(("name", "text", "message", "line", "key"), BROKEN)
def test_a_broken_file_is_named_with_line_and_key(
    project: Project, name: str, text: str, message: str, line: int, key: str | None
) -> None:
    put(project, name, text)
    with pytest.raises(ValidationError) as caught:
        use(project, name)
    assert message in caught.value.message
    assert name in caught.value.message
    assert caught.value.context == {"file": name, "line": line, **({} if key is None else {"key": key})}
    assert caught.value.hint


@pytest.mark.parametrize(
    ("name", "text"),
    [(name, text) for name, text, message, *_ in BROKEN if name != "chain.json" or "JSON" in message],
)
def test_a_broken_file_is_never_written_over(project: Project, name: str, text: str) -> None:
    put(project, name, text)
    with pytest.raises(ValidationError):
        change(project, name)
    assert project.path(name).read_text(encoding="utf-8") == text
    assert os.listdir(project.folder) == [name]


@pytest.mark.parametrize("raw", [b'{"a": "\xff"}', b"\xff\xfe{\x00}\x00", b'{"a": 1}\xc3'])
def test_bytes_that_are_no_utf8_are_placed(project: Project, raw: bytes) -> None:
    project.path("iexec.json").write_bytes(raw)
    with pytest.raises(ValidationError, match="not UTF-8") as caught:
        project.read("iexec.json")
    assert caught.value.context["line"] == 1
    with pytest.raises(ValidationError):
        project.write("iexec.json", {})
    assert project.path("iexec.json").read_bytes() == raw


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, '{"a": ' + "9" * 10_000 + "}"])
def test_hostile_files_are_refused_without_harm(project: Project, text: str) -> None:
    put(project, "iexec.json", text)
    with pytest.raises(ValidationError) as caught:
        project.read("iexec.json")
    assert len(str(caught.value)) < 500


def test_a_file_without_end_is_not_read(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(project_files, "MAX_BYTES", 100)
    put(project, "iexec.json", "{" + " " * 100 + "}")
    with pytest.raises(ValidationError, match="larger than 100 bytes"):
        project.read("iexec.json")
    project.path("chain.json").symlink_to("/dev/zero")
    with pytest.raises(ConfigurationError, match=r'"chain.json" is not a file'):
        project.network()
    project.path("orders.json").mkdir()
    with pytest.raises(ConfigurationError, match=r'"orders.json" is not a file'):
        project.save_signed(134, {"app": {}})


def test_a_missing_file_is_said_as_the_cli_says_it(project: Project) -> None:
    for name, look in [("iexec.json", lambda: project.resource("app")), ("chain.json", project.network)]:
        with pytest.raises(ConfigurationError) as caught:
            look()
        assert caught.value.message == f'Missing "{name}" file, did you forget to run "iexec init"?'
    assert project.deployed("app", 134) is None
    assert project.signed_order("app", 134) is None
    with pytest.raises(ConfigurationError) as nothing:
        project.require_deployed("app", 134)
    assert nothing.value.message == 'Missing appAddress and no app found in "deployed.json" for chain 134'


def test_a_missing_entry_is_said_as_the_cli_says_it(project: Project) -> None:
    put(project, "iexec.json", '{"order": {}}')
    with pytest.raises(ConfigurationError) as resource:
        project.resource("workerpool")
    expected = 'Missing workerpool in "iexec.json". Did you forget to run "iexec workerpool init"?'
    assert resource.value.message == expected
    with pytest.raises(ConfigurationError) as order:
        project.order("request")
    assert order.value.message == 'Missing requestorder. You probably forgot to run "iexec order init --request"'


def test_addresses_and_orders_stand_where_javascript_puts_them(project: Project) -> None:
    for chain_id in (421614, 134, 42161):
        project.set_deployed("app", chain_id, HERE.lower())
        project.save_signed(chain_id, {"app": {"a": 1}, "request": {"r": 1}})
    project.set_deployed("dataset", 134, THERE)
    project.set_deployed("app", 134, THERE)
    project.save_signed(134, {"dataset": {"d": 2}, "app": {"a": 2}})
    assert project.path("deployed.json").read_text() == (
        '{\n  "app": {\n'
        f'    "134": "{THERE}",\n    "42161": "{HERE}",\n    "421614": "{HERE}"\n'
        f'  }},\n  "dataset": {{\n    "134": "{THERE}"\n  }}\n}}'
    )
    assert list(project.read("orders.json")) == ["134", "42161", "421614"]
    signed = project.read("orders.json")["134"]
    assert list(signed.items()) == [("apporder", {"a": 2}), ("requestorder", {"r": 1}), ("datasetorder", {"d": 2})]


def test_only_addresses_are_noted_as_deployed(project: Project) -> None:
    with pytest.raises(ValidationError):
        project.set_deployed("app", 134, "nobody")
    assert os.listdir(project.folder) == []


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write("iexec.json", {"old": 1})
    for name in ("replace", "fsync"):
        with monkeypatch.context() as patch:

            def full(*_: Any) -> None:
                raise OSError(28, "No space left on device")

            patch.setattr(os, name, full)
            with pytest.raises(ConfigurationError, match="No space left on device"):
                project.write("iexec.json", {"new": 1})
        assert project.read("iexec.json") == {"old": 1}
        assert os.listdir(project.folder) == ["iexec.json"]


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r'"iexec.json" cannot be written'):
        Project(tmp_path / "nowhere").write("iexec.json", {})


def test_a_file_keeps_its_mode_and_a_link_stays_a_link(project: Project, tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        project.write("iexec.json", {})
        assert stat.S_IMODE(project.path("iexec.json").stat().st_mode) == 0o640
    finally:
        os.umask(before)
    project.path("iexec.json").chmod(0o604)
    project.write("iexec.json", {"a": 1})
    assert stat.S_IMODE(project.path("iexec.json").stat().st_mode) == 0o604
    (tmp_path / "elsewhere").mkdir()
    goal = tmp_path / "elsewhere" / "real.json"
    goal.write_text("{}")
    project.path("chain.json").symlink_to(goal)
    project.write("chain.json", {"chains": {}})
    assert project.path("chain.json").is_symlink()
    assert json.loads(goal.read_text()) == {"chains": {}}


def test_no_copy_of_a_file_is_ever_wider_than_the_file(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    put(project, "chain.json", '{"chains": {}}')
    project.path("chain.json").chmod(0o600)
    modes: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda handle: modes.append(stat.S_IMODE(os.fstat(handle).st_mode)))
    project.write("chain.json", {"chains": {}, "providers": {"infura": "key"}})
    assert modes == [0o600]


def test_a_key_takes_the_place_of_a_link_and_spoils_nothing_elsewhere(project: Project, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    folder = project.make_secrets_dir(project.secrets_dir("datasets"))
    (folder / "dataset.key").symlink_to(victim)
    project.write_secret(folder / "dataset.key", Secret("key"))
    assert victim.read_text() == "precious"
    assert not (folder / "dataset.key").is_symlink()
    assert project.read_secret(folder / "dataset.key") == Secret("key")


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="a device without end")
def test_a_key_is_not_read_from_what_does_not_end(project: Project) -> None:
    with pytest.raises(ValidationError, match="too large for a key"):
        project.read_secret("/dev/zero")


def test_a_number_that_is_none_stays_where_it_is(project: Project) -> None:
    endless = "9" * 5000
    put(project, "deployed.json", json.dumps({"app": {endless: HERE}}))
    project.set_deployed("app", 134, THERE)
    assert project.deployed("app", 134) == THERE
    assert project.deployed("app", endless) == HERE
    put(project, "orders.json", json.dumps({endless: {}}))
    project.save_signed(134, {"app": {"volume": "1"}})
    assert list(project.read("orders.json")) == ["134", endless]


def test_a_name_over_the_id_of_another_chain_is_said_to_come_from_the_file(project: Project) -> None:
    name = "arbitrum-sepolia-testnet"
    put(project, "chain.json", json.dumps({"default": name, "chains": {name: {"id": "42161"}}}))
    assert project.network().chain_id == 42161
    assert project.network().chosen_by_file == ("id",)
    put(project, "chain.json", json.dumps({"default": name, "chains": {name: {"id": "42161", "sms": "http://a.test"}}}))
    assert project.network().chosen_by_file == ("id", "sms")


def test_threads_that_note_at_once_lose_nothing(project: Project) -> None:
    def note(chain_id: int) -> None:
        project.set_deployed("app", chain_id, HERE)

    threads = [threading.Thread(target=note, args=(number,)) for number in range(1, 21)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(project.read("deployed.json")["app"]) == [str(number) for number in range(1, 21)]


def test_programs_that_note_at_once_lose_nothing(project: Project) -> None:
    program = (
        "import sys; from iexec_nb.services.project import Project; project = Project(sys.argv[1])\n"
        f"for number in range(10): project.set_deployed('app', int(sys.argv[2]) + number, {HERE!r})"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", program, str(project.folder), str(first)]) for first in (100, 200, 300)
    ]
    assert [process.wait(60) for process in running] == [0, 0, 0]
    assert len(project.read("deployed.json")["app"]) == 30


def test_an_update_creates_a_file_only_when_it_may(project: Project) -> None:
    with pytest.raises(ConfigurationError, match=r'Missing "orders.json"'):
        project.update("orders.json", lambda content: None)
    assert project.update("orders.json", lambda content: content.update(a=1), create=True) == {"a": 1}


def test_a_change_that_fails_writes_nothing(project: Project) -> None:
    put(project, "iexec.json", "{}")

    def fails(content: dict[str, Any]) -> None:
        content["a"] = 1
        raise LookupError

    with pytest.raises(LookupError):
        project.update("iexec.json", fails)
    assert project.read("iexec.json") == {}


def test_folders_of_keys_are_for_their_owner_only(project: Project) -> None:
    before = os.umask(0)
    try:
        folder = project.make_secrets_dir(project.secrets_dir("datasets"))
        key = project.write_secret(folder / "a.key", Secret("a-key"))
    finally:
        os.umask(before)
    assert folder == project.folder / ".secrets" / "datasets"
    for path, mode in [(folder.parent, 0o700), (folder, 0o700), (key, 0o600)]:
        assert stat.S_IMODE(path.stat().st_mode) == mode
    assert key.read_bytes() == b"a-key"
    with pytest.raises(ValidationError, match="'other' is no kind of keys"):
        project.secrets_dir("other")


def test_a_key_is_read_without_the_white_space_around_it(project: Project) -> None:
    put(project, "a.key", "  a-key\n")
    assert project.read_secret("a.key").reveal() == "a-key"
    with pytest.raises(ConfigurationError, match=r"'b.key' cannot be read"):
        project.read_secret("b.key")
    project.path("big.key").write_bytes(b"x" * (1 << 21))
    with pytest.raises(ValidationError, match="too large"):
        project.read_secret("big.key")


def test_keys_of_nodes_stand_in_no_error(project: Project) -> None:
    secret = "SUPER-KEY"
    broken = [
        f'{{"chains": {{"a": {{"host": "ws://me:{secret}@node.test/v3/{secret}?k={secret}"}}}}}}',
        f'{{"chains": {{"a": {{"iexecGateway": "node.test/{secret}"}}}}}}',
        f'{{"chains": {{}}, "providers": {{"infura": {{"projectSecret": "{secret}"}}, "x": "{secret}"}}}}',
        f'{{"chains": {{"a": {{"sms": {{"tdx": "{secret}"}}}}}}}}',
        f'{{"chains": {{}}, "providers": {{"infura": {{"projectSecret": "{secret}" ',
    ]
    for text in broken:
        put(project, "chain.json", text)
        with pytest.raises(IExecError) as caught:
            project.network("a")
        shown: BaseException | None = caught.value
        while shown is not None:
            assert secret not in str(shown)
            assert secret not in repr(vars(shown))
            shown = shown.__cause__ or shown.__context__


def test_reading_writes_nothing(old: Project) -> None:
    before = {path: path.stat().st_mtime_ns for path in old.folder.iterdir()}
    old.network("dev")
    old.resource("app")
    old.deployed("app", 134)
    old.signed_order("app", 134)
    assert {path: path.stat().st_mtime_ns for path in old.folder.iterdir()} == before


def test_a_rule_that_a_file_breaks_is_said_with_the_place(project: Project) -> None:
    put(project, "iexec.json", '{\n"app": {\n"owner": "me",\n"order": 1}}')

    def refuse(argument: str) -> None:
        with project.naming("iexec.json", "app"):
            raise ValidationError("wrong", context={"argument": argument, "more": 1}, hint="hint")

    for argument, line, key in [("owner", 3, "app.owner"), ("missing", 2, "app"), ("", 2, "app")]:
        with pytest.raises(ValidationError, match="wrong") as caught:
            refuse(argument)
        assert caught.value.context == {"file": "iexec.json", "line": line, "key": key, "more": 1}
        assert caught.value.hint == "hint"
    with project.naming("iexec.json", "app"):
        pass


def test_a_place_in_a_file_is_told_for_errors_of_others(old: Project) -> None:
    place = old.place("iexec.json", "app", "owner")
    assert place["key"] == "app.owner"
    line = old.path("iexec.json").read_text().split("\n")[int(str(place["line"])) - 1]
    assert '"owner"' in line
