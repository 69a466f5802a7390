"""The GPUs that this process may use, by the names that CUDA_VISIBLE_DEVICES takes; torch is not loaded."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from pathlib import Path

from midspec.core.errors import ConfigError
from midspec.models._find import check_device

VISIBLE = "CUDA_VISIBLE_DEVICES"
_LISTING_S = 20.0
_NAME = re.compile(r"\d+|(GPU|MIG)-[\w/-]+")
_LISTED = re.compile(r"\(UUID: ((GPU|MIG)-[^)]+)\)")


def visible_gpus() -> tuple[str, ...]:
    """Return the GPUs of this machine that CUDA_VISIBLE_DEVICES leaves to this process; empty where there is none."""
    return select_gpus(_gpus_of_machine(), os.environ.get(VISIBLE))


def select_gpus(machine: tuple[str, ...], listed: str | None) -> tuple[str, ...]:
    """Return the GPUs of a list as CUDA reads it: it ends at the first entry that is no name (`-1`, say).

    Args:
        machine: all GPUs; where there is none, a list names none either.
        listed: indices, or UUIDs of GPUs and of MIG instances, with commas; `None` for all of the machine's.
    """
    if listed is None or not machine:
        return machine
    names: list[str] = []
    for entry in listed.split(","):
        if not _NAME.fullmatch(entry.strip()):
            break
        names.append(entry.strip())
    return tuple(dict.fromkeys(names))


@functools.cache
def _gpus_of_machine() -> tuple[str, ...]:
    """Return every GPU that the driver shows; of one that is divided by MIG, its instances."""
    if shutil.which("nvidia-smi"):
        try:
            listed = subprocess.run(
                ["nvidia-smi", "-L"],  # noqa: S607 - the driver's own program, wherever it is installed
                capture_output=True,
                text=True,
                timeout=_LISTING_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            pass
        else:
            if listed.returncode == 0:
                return parse_listing(listed.stdout)
    # Without the driver's program: a device file for each GPU. CUDA counts those that are there from 0.
    files = [path for path in Path("/dev").glob("nvidia*") if path.name.removeprefix("nvidia").isdigit()]
    return tuple(str(index) for index in range(len(files)))


def parse_listing(text: str) -> tuple[str, ...]:
    """Read the output of `nvidia-smi -L`: a line for each GPU, and under one that is divided, one for each instance."""
    found: list[str] = []
    for line in text.splitlines():
        match = _LISTED.search(line)
        if match is None:
            continue
        is_instance = match[2] == "MIG"
        if is_instance and found and found[-1].startswith("GPU"):
            # CUDA does not offer a divided GPU as a whole.
            found.pop()
        found.append(match[1])
    return tuple(found)


def choose_gpus(device: str, gpus: tuple[str, ...] | None = None) -> tuple[str, ...]:
    """Return the GPUs that a device's name stands for; none for `cpu` and `mps`, and for `auto` where there is none.

    Args:
        device: auto, cpu, cuda, cuda:N or mps.
        gpus: to choose from; by default those that are visible.

    Raises:
        ConfigError: there is no device of that name, or not so many GPUs.
    """
    check_device(device)
    if device in {"cpu", "mps"}:
        return ()
    gpus = visible_gpus() if gpus is None else gpus
    kind, _, number = device.partition(":")
    if kind == "cuda" and not gpus:
        raise ConfigError("there is no GPU", where=f"device {device}", hint="Use auto or cpu")
    if number:
        if int(number) >= len(gpus):
            raise ConfigError(
                f"there are {len(gpus)} GPUs, counted from 0", where=f"device {device}", hint="Use a lower number"
            )
        return (gpus[int(number)],)
    return gpus


def see_one_gpu(device: str) -> str:
    """Let this process see one GPU alone, and return the device's name in it; nothing changes without GPUs.

    Libraries spread over all that a process sees, or take the first. It has no effect once CUDA has been used.
    """
    gpus = choose_gpus(device)
    if not gpus:
        return device
    os.environ[VISIBLE] = gpus[0]
    return "cuda"
