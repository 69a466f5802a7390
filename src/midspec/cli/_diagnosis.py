"""What `midspec doctor` looks at: what the system grants, packages, keys, caches, clusters, devices."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from pydantic import BaseModel, ConfigDict

from midspec import __version__
from midspec.core.machine import Grants, Room, granted, room_in
from midspec.llm import key_variables
from midspec.models import TorchFound, cache_folder, check_devices, visible_gpus

GB = 1e9
_MIN_FREE_BYTES = 2e9
_FEW_OPEN_FILES = 1024
# Beside those of providers: what opens gated models of the hub.
_KEYS_OF_OTHERS = ("HF_TOKEN",)
_PROGRAMS = {"Slurm": "sbatch", "SkyPilot": "sky"}
_PURPOSES = {
    "train": "training, and opening checkpoints",
    "rl": "stages dpo and grpo",
    "eval": "evaluations",
    "llm": "models as authors and judges",
    "curate": "near duplicates and languages",
    "exchange": "data sets and checkpoints of a hub",
    "s3": "runs on S3",
}


class PackageState(BaseModel):
    """A package that midspec asks for.

    Attributes:
        wanted: as in pyproject.toml, `torch>=2.7`.
        version: that is installed; `None` where it is missing.
        is_enough: whether that version is one that midspec takes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    wanted: str
    version: str | None
    is_enough: bool


class Diagnosis(BaseModel):
    """What this machine can do.

    Attributes:
        packages: by extra; those that are always needed under the empty name.
        keys: environment variables that hold keys, and whether each is set; what they hold is not read further.
        folders: of the caches, and the one that the command was given in.
        programs: of clusters, and where they are.
        torch: `None` where it is not installed.
        broken: what is needed or installed and does not work.
        advice: what would be worth doing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    midspec: str
    python: str
    system: str
    grants: Grants
    packages: dict[str, tuple[PackageState, ...]]
    keys: dict[str, bool]
    folders: dict[str, Room]
    programs: dict[str, str | None]
    gpus: tuple[str, ...]
    torch: TorchFound | None
    broken: tuple[str, ...]
    advice: tuple[str, ...]


def diagnose(*, is_measuring: bool = True) -> Diagnosis:
    """Look at this machine and installation.

    Args:
        is_measuring: whether devices are measured, which takes some seconds.
    """
    packages = installed_packages()
    hub = os.environ.get("HF_HUB_CACHE") or os.environ.get("HF_HOME", "~/.cache/huggingface") + "/hub"
    places = {
        "cache of models": cache_folder,
        "cache of the hub": Path(hub).expanduser,
        "runs here": Path("runs").absolute,
    }
    folders, unknown = {}, []
    for name, place in places.items():
        try:
            folders[name] = room_in(place())
        except (OSError, RuntimeError) as error:  # there is no home, or the current folder was removed
            unknown.append(f"{name}: can't be looked at ({error})")
    grants = granted()
    gpus = visible_gpus()
    extras = [
        f"pip install 'midspec[{extra}]'   for {_PURPOSES.get(extra, extra)}; missing: {', '.join(missing)}"
        for extra, states in packages.items()
        if extra and (missing := [one.name for one in states if one.version is None])
    ]
    found = Diagnosis(
        midspec=__version__,
        python=f"{platform.python_version()} ({sys.executable})",
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        grants=grants,
        packages=packages,
        keys={name: bool(os.environ.get(name, "").strip()) for name in (*key_variables(), *_KEYS_OF_OTHERS)},
        folders=folders,
        programs={name: shutil.which(program) for name, program in _PROGRAMS.items()},
        gpus=gpus,
        torch=None,
        broken=tuple(broken_parts(packages, None)),
        advice=(*unknown, *_advice_on_room(grants, folders), *extras),
    )
    return measured(found) if is_measuring else found


def measured(found: Diagnosis) -> Diagnosis:
    """Add what torch finds and how fast it is on each device, where it is installed; takes some seconds."""
    if not any(one.name == "torch" and one.version for states in found.packages.values() for one in states):
        return found
    torch = check_devices()
    advice = (*advice_on_torch(torch, found.gpus), *found.advice)
    return found.model_copy(
        update={"torch": torch, "broken": tuple(broken_parts(found.packages, torch)), "advice": advice}
    )


def installed_packages() -> dict[str, tuple[PackageState, ...]]:
    """Return the packages that the installed midspec asks for, by extra; of each, what is installed.

    The extra for working on midspec itself is left out, and so is the one of all extras.
    """
    about = metadata.metadata("midspec")
    lines = about.get_all("Requires-Dist") or []
    extras = [name for name in about.get_all("Provides-Extra") or [] if name not in {"all", "dev"}]
    return {extra: tuple(_states(lines, extra)) for extra in ("", *extras)}


def _states(lines: list[str], extra: str) -> Iterator[PackageState]:
    for wanted in map(Requirement, lines):
        marker = wanted.marker
        is_of_extra = marker is not None and not marker.evaluate({"extra": ""})
        if wanted.name == "midspec" or is_of_extra != bool(extra):
            continue
        if marker is not None and not marker.evaluate({"extra": extra}):
            continue
        try:
            version: str | None = metadata.version(wanted.name)
        except metadata.PackageNotFoundError:
            version = None
        yield PackageState(
            name=wanted.name,
            wanted=f"{wanted.name}{wanted.specifier}",
            version=version,
            is_enough=version is not None and wanted.specifier.contains(version, prereleases=True),
        )


def broken_parts(packages: dict[str, tuple[PackageState, ...]], torch: TorchFound | None) -> list[str]:
    """Say what is needed or installed and does not work."""
    found = []
    for one in packages[""]:
        if not one.is_enough:
            seen = "is missing" if one.version is None else f"is {one.version}"
            found.append(f"{one.name} {seen}, and midspec needs {one.wanted}. pip install '{one.wanted}'")
    for extra, states in packages.items():
        found += [
            f"{one.name} is {one.version}, and midspec[{extra}] needs {one.wanted}. pip install '{one.wanted}'"
            for one in states
            if extra and one.version and not one.is_enough
        ]
    # What fails for want of a package is told as that package.
    is_missing = any(one.version is None for one in packages["train"])
    if torch and torch.failed and not (torch.devices and is_missing):
        what = "what opens models (transformers, peft)" if torch.version and torch.devices else "torch"
        found.append(
            f"{what} is installed and gave {torch.failed}: it hangs, or this machine is too busy. Try again later"
            if torch.is_late
            else f"{what} is installed and does not work: {torch.failed}. "
            "Install midspec[train] into an empty environment"
        )
    return list(dict.fromkeys(found))


def _advice_on_room(grants: Grants, folders: dict[str, Room]) -> list[str]:
    advice = []
    for name, room in folders.items():
        if room.free_bytes < _MIN_FREE_BYTES:
            advice.append(f"{name}: {room.free_bytes / GB:.1f} GB free in {room.folder}; a checkpoint is written twice")
    limit, highest = grants.n_open_files, grants.n_open_files_at_most
    if limit is not None and highest is not None and highest < _FEW_OPEN_FILES:
        advice.append(
            f"only {highest:,} files may be open at once: raise it (ulimit -n 4096), or give --concurrency less"
        )
    if grants.core_quota is not None and grants.core_quota < grants.n_usable_cores:
        advice.append(
            f"{grants.n_usable_cores} cores are seen and {grants.core_quota:g} are granted: "
            f"midspec run --workers {max(1, int(grants.core_quota))}"
        )
    return advice


def advice_on_torch(torch: TorchFound | None, gpus: tuple[str, ...]) -> list[str]:
    """Say where the build of torch does not fit the machine; `gpus` are those that the driver shows."""
    if torch is None or not torch.version:
        return []
    has_gpu = any(device.name != "cpu" for device in torch.devices)
    if torch.cuda and not gpus and not has_gpu:
        what = (
            f"torch {torch.version} is built for CUDA {torch.cuda} and there is no GPU: it works, and takes gigabytes"
        )
        return [f"{what}; to avoid it, install torch first, from PyTorch's own index of CPU builds"]
    if gpus and not torch.cuda:
        return [f"there are {len(gpus)} GPUs, and torch {torch.version} is a build without CUDA: install one with it"]
    if gpus and not has_gpu:
        return [
            f"there are {len(gpus)} GPUs, and torch {torch.version} can't use them: look at the driver (nvidia-smi)"
        ]
    return []
