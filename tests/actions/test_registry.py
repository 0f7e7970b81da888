"""Whether a project may be listed: the CLI's rules, and every one that is broken at once."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from iexec_nb.client import IExec
from iexec_nb.errors import ConfigurationError, ValidationError
from iexec_nb.protocol import templates

OWNER = "0x7bd4783FDCAD405A28052a0d1f11236A741da593"


def image(kind: str = "PNG", size: tuple[int, int] = (180, 180)) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size).save(out, kind)
    return out.getvalue()


def description(kind: str) -> dict[str, Any]:
    content = templates.main(9)
    if kind == "app":
        return {**content, "app": templates.app(OWNER, 9), "buyConf": templates.buy_conf(7)}
    if kind == "dataset":
        return {**content, "dataset": templates.dataset(OWNER), "dapps": templates.dapps(7), "categories": "x"}
    return {
        **{key: content[key] for key in ("description", "social", "logo")},
        "workerpool": templates.workerpool(OWNER),
    }


class Folder:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.client = IExec("arbitrum-mainnet")

    def write(self, kind: str, content: Any = None, **changes: Any) -> None:
        body = {**description(kind), **changes} if content is None else content
        (self.path / "iexec.json").write_text(json.dumps(body, indent=2))
        (self.path / "deployed.json").write_text(json.dumps({kind: {"134": OWNER}}))
        (self.path / "logo.png").write_bytes(image())


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    monkeypatch.chdir(tmp_path)
    return Folder(tmp_path)


@pytest.mark.parity("registry validate")
@pytest.mark.parametrize(
    ("kind", "registry"),
    [("app", "iexec-dapps-registry"), ("dataset", "iexec-datasets-registry"), ("workerpool", "iexec-pools-registry")],
)
def test_a_complete_project_may_be_listed(folder: Folder, kind: str, registry: str) -> None:
    folder.write(kind)
    checked = folder.client.registry.validate(kind)
    assert checked
    assert checked.validated == ("iexec.json", "logo.png", "deployed.json")
    assert checked.registry.endswith(f"/{registry}")


# kind, what is changed, what is said of iexec.json
WRONG = [
    ("app", {"description": "short"}, "description must be at least 150 characters (line 2, key description)"),
    ("app", {"description": "x" * 2001}, "description must be at most 2000 characters (line 2, key description)"),
    ("app", {"description": 5}, "description must be a `string` type"),
    ("app", {"license": ""}, "license is a required field"),
    ("app", {"social": "x"}, "social must be a `object` type"),
    ("app", {"social": {"website": 5}}, "social.website must be a `string` type"),
    ("app", {"order": {}}, "this field has unspecified keys: order"),
    ("app", {"app": {}}, "app.owner is a required field"),
    ("app", {"app": {**templates.app(OWNER), "owner": "0x1"}}, "0x1 is not a valid ethereum address"),
    ("app", {"app": {**templates.app(OWNER), "type": "VM"}}, "VM is not a valid type"),
    ("app", {"app": {**templates.app(OWNER), "checksum": "0x1"}}, "0x1 is not a bytes32 hexstring"),
    ("app", {"app": {**templates.app(OWNER), "mrenclave": {"framework": "x"}}}, "framework"),
    ("app", {"buyConf": {}}, "buyConf.params is a required field"),
    ("app", {"buyConf": {"params": {"iexec_x": ""}}}, "buyConf.params field has unspecified keys: iexec_x"),
    ("app", {"buyConf": {"params": {}, "trust": -1}}, "-1 is not a valid uint256"),
    ("dataset", {"dataset": None}, "dataset must be a `object` type"),
    ("dataset", {"dapps": {}}, "dapps must be a `array` type"),
    ("dataset", {"dapps": [{"name": "x", "addresses": {"x": OWNER}}]}, "x is not a valid chainId"),
    ("dataset", {"dapps": [{"name": "x", "addresses": {"1": "x"}}]}, "key dapps[0].addresses.1)"),
    ("dataset", {"dapps": [{"addresses": {}}]}, "dapps[0].name is a required field"),
    ("workerpool", {"workerpool": {"owner": OWNER}}, "workerpool.description is a required field"),
    ("workerpool", {"license": "MIT"}, "this field has unspecified keys: license"),
]


@pytest.mark.parametrize(("kind", "changes", "said"), WRONG)
def test_a_rule_that_is_broken_is_said_with_its_place(
    folder: Folder, kind: str, changes: dict[str, Any], said: str
) -> None:
    folder.write(kind, **changes)
    checked = folder.client.registry.validate(kind)
    assert not checked
    assert "iexec.json" not in checked.validated
    assert any(said in one for one in checked.fail), checked.fail
    assert all(one.startswith("iexec.json: ") and "(line " in one for one in checked.fail)


def test_everything_that_is_wrong_is_said_at_once(folder: Folder) -> None:
    content = description("app")
    del content["author"], content["social"]
    folder.write("app", {**content, "description": "short", "logo": "none.png", "x": 1})
    (folder.path / "deployed.json").write_text("{}")
    fail = folder.client.registry.validate("app").fail
    assert fail == (
        "iexec.json: this field has unspecified keys: x (line 20, key x)",
        "iexec.json: description must be at least 150 characters (line 2, key description)",
        "iexec.json: social is a required field (line 1, key social)",
        "iexec.json: author is a required field (line 1, key author)",
        'none.png: Missing "none.png" logo image file',
        'deployed.json: Missing app field. You should run "iexec app deploy"',
    )


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("logo.png", image(size=(181, 180)), "logo.png dimensions should be 180px by 180px, NOT 181 by 180"),
        ("logo.jpg", image("PNG"), "Extension mismatch: png =/= jpg"),
        ("logo.png", image("JPEG"), "Extension mismatch: jpg =/= png"),
        ("logo.png", b"no image", "unsupported file type: it is no image"),
        ("logo.png", b"", "unsupported file type: it is no image"),
        ("logo.png", image()[:20], "unsupported file type: it is no image"),
    ],
)
def test_the_logo_is_an_image_of_its_size_and_kind(folder: Folder, name: str, content: bytes, said: str) -> None:
    folder.write("app", logo=name)
    (folder.path / name).write_bytes(content)
    assert folder.client.registry.validate("app").fail == (f"{name}: {said}",)


@pytest.mark.parametrize(("kind", "suffix"), [("JPEG", "jpg"), ("GIF", "gif"), ("BMP", "bmp"), ("WEBP", "webp")])
def test_a_logo_may_be_of_another_kind(folder: Folder, kind: str, suffix: str) -> None:
    folder.write("app", logo=f"my.{suffix}")
    (folder.path / f"my.{suffix}").write_bytes(image(kind))
    assert folder.client.registry.validate("app")


@pytest.mark.parametrize("logo", [None, 5, [], "", "\0", "missing\n.png", "."])
def test_what_is_no_logo_is_said(folder: Folder, logo: Any) -> None:
    folder.write("app", logo=logo)
    assert not folder.client.registry.validate("app")


def test_a_broken_deployed_json_is_said_with_its_line(folder: Folder) -> None:
    folder.write("app")
    (folder.path / "deployed.json").write_text('{\n"app": {"134": 5}}')
    assert folder.client.registry.validate("app").fail == (
        "deployed.json: 5 is not a valid address in deployed.json line 2",
    )
    (folder.path / "deployed.json").unlink()
    (missing,) = folder.client.registry.validate("app").fail
    assert missing == 'deployed.json: Missing "deployed.json" file, did you forget to run "iexec init"?'


@pytest.mark.parametrize("kind", ["order", "", "App", None, 5])
def test_another_object_is_refused_as_the_cli_does(folder: Folder, kind: Any) -> None:
    with pytest.raises(ValidationError, match=r"Must be one of \[app,workerpool,dataset\]"):
        folder.client.registry.validate(kind)


def test_without_a_project_or_with_a_broken_one_it_is_an_error(folder: Folder) -> None:
    with pytest.raises(ConfigurationError, match=r'Missing "iexec.json" file'):
        folder.client.registry.validate("app")
    (folder.path / "iexec.json").write_text("{")
    with pytest.raises(ValidationError, match="not valid JSON"):
        folder.client.registry.validate("app")


def test_a_description_that_is_wrong_a_thousand_times_is_not_told_a_thousand_times(folder: Folder) -> None:
    folder.write("dataset", dapps=[{}] * 1000)
    assert len(folder.client.registry.validate("dataset").fail) == 20
