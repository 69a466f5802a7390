"""Read what arguments name: the file of a spec, the folder of a result, the place of a run."""

from __future__ import annotations

from pathlib import Path

import typer


def spec_at_path(given: str) -> Path:
    """Return the path of a spec: a file's, or of `shipped:NAME` or `lab:FILE`, as in a study."""
    from midspec.study import outside_path

    return outside_path(Path(), given)


def result_folder(given: str) -> Path:
    """Return the folder that `--out` names, whole where it has no name of its own (`.`, `..`).

    Raises:
        typer.BadParameter: it names no folder, or one that nothing can stand beside (`/`).
    """
    folder = Path(given) if Path(given).name not in {"", ".."} else Path(given).resolve()
    if not given.strip() or not folder.name:
        raise typer.BadParameter(f"{given!r} names no folder. Name a new one for the result", param_hint="--out")
    return folder


def run_place(given: str) -> str:
    """Return the folder or URL of a run that `--out` names; a folder as `result_folder` reads it."""
    from midspec.core.artifact import is_url

    return given if is_url(given) else str(result_folder(given))
