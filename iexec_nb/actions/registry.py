"""The noun ``registry``: whether a project's description is complete, as the public registries of apps asked for it.

The official CLI has this check up to version 8.9. Unlike there, everything that is wrong is said at once.
"""

from __future__ import annotations

from typing import Any

from iexec_nb.actions.base import Noun
from iexec_nb.commands import command, noun
from iexec_nb.errors import IExecError, ValidationError
from iexec_nb.protocol.description import problems_of
from iexec_nb.protocol.json_text import dotted
from iexec_nb.protocol.receipts import Validated
from iexec_nb.protocol.types import shown
from iexec_nb.services.project import DEPLOYED, IEXEC, RESOURCES, Project

LOGO_SIDE = 180
"""How wide and high a logo is, in pixels."""
LOGO_MAX_BYTES = 16 << 20

_REGISTRIES = {"app": "dapps", "dataset": "datasets", "workerpool": "pools"}
_EXTENSIONS = {"JPEG": "jpg", "MPO": "jpg"}


def _raw(checked: Validated) -> dict[str, Any]:
    return {"validated": checked.validated, **({"fail": checked.fail} if checked.fail else {})}


@noun("registry")
class RegistryActions(Noun):
    """Registries: whether an app, dataset or workerpool is described well enough to be listed."""

    @command("registry validate app", raw=_raw, local=True)
    def validate(self, kind: str, /) -> Validated:
        """Check the description, the logo and the deployment of a project; everything that is wrong is listed.

        Parameters
        ----------
        kind
            What the project describes: ``app``, ``dataset`` or ``workerpool``.

        Returns
        -------
        Validated
            ``validated`` files, what is wrong in ``fail``, and the ``registry``. It is true where nothing is wrong.

        Raises
        ------
        ValidationError
            When `kind` is something else, or ``iexec.json`` is not JSON.
        ConfigurationError
            When there is no ``iexec.json``.

        Source
        ------
        The CLI's ``src/cli/cmd/iexec-registry.js`` (up to SDK 8.9).
        """
        if kind not in RESOURCES:
            raise ValidationError(
                f'Unknown object "{shown(kind)}". Must be one of [app,workerpool,dataset]',
                hint="%iexec registry validate app",
            )
        project = self._client.files
        content = project.read(IEXEC)
        logo = content.get("logo")
        logo_name = shown(logo) if isinstance(logo, str) else "logo"
        found = {
            IEXEC: [_placed(project, keys, text) for keys, text in problems_of(kind, content)],
            logo_name: _logo_problems(project, logo),
            DEPLOYED: _deployed_problems(project, kind),
        }
        return Validated(
            kind=kind,
            validated=tuple(name for name, problems in found.items() if not problems),
            fail=tuple(f"{name}: {problem}" for name, problems in found.items() for problem in problems),
            registry=f"https://github.com/iExecBlockchainComputing/iexec-{_REGISTRIES[kind]}-registry",
        )


def _placed(project: Project, keys: tuple[str | int, ...], text: str) -> str:
    return f"{text} (line {project.place(IEXEC, *keys)['line']}, key {shown(dotted(keys))})"


def _deployed_problems(project: Project, kind: str) -> list[str]:
    try:
        there = project.all_deployed()
    except IExecError as error:
        place = [f"line {error.context['line']}"] if "line" in error.context else []
        return [" ".join([error.message, *place])]
    return [] if kind in there else [f'Missing {kind} field. You should run "iexec {kind} deploy"']


def _logo_problems(project: Project, logo: object) -> list[str]:
    if not isinstance(logo, str) or not logo or "\0" in logo:
        return ["logo is a required field"]
    path = project.path(logo)
    if not path.is_file():
        return [f'Missing "{shown(logo)}" logo image file']
    if path.stat().st_size > LOGO_MAX_BYTES:
        return [f"{shown(logo)} is larger than {LOGO_MAX_BYTES} bytes"]
    try:
        kind, width, height = _image(path.read_bytes())
    except Exception:
        # Each image format has errors of its own, and all mean the same here.
        return ["unsupported file type: it is no image"]
    problems = []
    if (width, height) != (LOGO_SIDE, LOGO_SIDE):
        size = f"{LOGO_SIDE}px by {LOGO_SIDE}px, NOT {width} by {height}"
        problems.append(f"{shown(logo)} dimensions should be {size}")
    if kind != path.suffix[1:]:
        problems.append(f"Extension mismatch: {kind} =/= {shown(path.suffix[1:])}")
    return problems


def _image(content: bytes) -> tuple[str, int, int]:
    """Return an image's type as its extension, its width and its height; pixels are not decoded."""
    import io

    from PIL import Image

    with Image.open(io.BytesIO(content)) as image:
        name = image.format or ""
        return _EXTENSIONS.get(name, name.lower()), image.width, image.height
