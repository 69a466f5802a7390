"""`midspec doctor`: what this machine can do, what is missing, and what to type for it."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from midspec.cli._output import print_pairs
from midspec.core.errors import ConfigError

if TYPE_CHECKING:
    from midspec.cli._diagnosis import Diagnosis
    from midspec.core.machine import Grants, Room
    from midspec.models import TorchFound

_GB = 1e9


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print all that was found as JSON.")] = False,
    measure: Annotated[
        bool, typer.Option("--measure/--no-measure", help="Import torch and time matrix products on each device.")
    ] = True,
) -> None:
    """Say what this machine can do, what is missing, and what to type for it.

    Cores, memory, disks, devices with their precision and speed as measured, packages by extra, keys (whether they
    are set; never what they hold), clusters, caches. Nothing is sent anywhere. Exit code 2 where something that is
    needed is broken.

    Example: midspec doctor
    """
    from midspec.cli._diagnosis import diagnose, measured

    found = diagnose(is_measuring=False)
    if not as_json:
        _print_machine(found)
    if measure:
        found = measured(found)
    if as_json:
        print(found.model_dump_json(indent=2))
    else:
        _print_torch_and_advice(found)
    if found.broken:
        raise ConfigError(found.broken[0], where="doctor")


def _print_machine(found: Diagnosis) -> None:
    grants = found.grants
    print(f"midspec {found.midspec}, Python {found.python}, {found.system}\n")
    quota = f", {grants.core_quota:g} granted by the control group" if grants.core_quota else ""
    n_threads = os.environ.get("MIDSPEC_THREADS", "").strip() or "1"
    print_pairs(
        [
            (
                "cores",
                f"{grants.n_usable_cores} of {grants.n_cores} usable{quota}; {n_threads} a process (MIDSPEC_THREADS)",
            ),
            ("memory", _memory(grants)),
            ("open files", f"{_count(grants.n_open_files)}; may be raised to {_count(grants.n_open_files_at_most)}"),
            *((name, _room(room)) for name, room in found.folders.items()),
            *((name, path or "not here") for name, path in found.programs.items()),
            *((name, "set" if is_set else "not set") for name, is_set in found.keys.items()),
        ]
    )
    print("\npackages")
    for extra, states in found.packages.items():
        have = ", ".join(f"{one.name} {one.version or 'MISSING'}" for one in states)
        print(f"  {extra or 'always':<9} {have}")
    sys.stdout.flush()


def _print_torch_and_advice(found: Diagnosis) -> None:
    if found.torch:
        build = f"built for CUDA {found.torch.cuda}" if found.torch.cuda else "built without CUDA"
        print(f"\ntorch {found.torch.version}, {build}" if found.torch.version else "\ntorch gave no answer")
        _print_devices(found.torch)
    if found.advice:
        print("\nadvice")
        for line in found.advice:
            print(f"  {line}")
    print("\n" + ("\n".join(f"broken: {line}" for line in found.broken) or "Nothing that is needed is broken."))


def _print_devices(torch: TorchFound) -> None:
    for device in torch.devices:
        memory = f", {device.memory_bytes / _GB:.0f} GB" if device.memory_bytes else ""
        takes = torch.takes.get(device.name)
        chosen = f"; models of hidden size 256 and more are computed in {takes}" if takes else ""
        print(f"  {device.name}: {device.about}{memory}{chosen}")
        for one in device.arithmetic:
            if one.error is None or one.gflops is None:
                print(f"    {one.dtype:<10} {one.failed}")
            else:
                print(f"    {one.dtype:<10} error {one.error:.1e}   {one.gflops:>9,.0f} GFLOP/s")


def _memory(grants: Grants) -> str:
    if grants.memory_bytes is None:
        return "not told by the system"
    parts = [f"{grants.memory_bytes / _GB:.1f} GB"]
    if grants.memory_free_bytes is not None:
        parts.append(f"{grants.memory_free_bytes / _GB:.1f} GB free")
    if grants.memory_limit_bytes is not None:
        parts.append(f"{grants.memory_limit_bytes / _GB:.1f} GB granted by the control group")
    return ", ".join(parts)


def _room(room: Room) -> str:
    more = "" if room.is_counted_whole else "at least "
    held = f"{more}{room.used_bytes / _GB:.2f} GB, " if room.used_bytes else ""
    return f"{held}{room.free_bytes / _GB:.1f} GB free ({room.folder})"


def _count(n: int | None) -> str:
    return "any number" if n is None else f"{n:,}"
