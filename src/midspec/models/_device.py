"""Which words name a device; told without torch, so that a typing error costs nothing."""

from __future__ import annotations

import re

from midspec.errors import ConfigError

__all__ = ["check_device"]

_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?")


def check_device(name: str) -> None:
    """Refuse a word that names no device. Whether the device is there, `pick_device` says.

    Raises:
        ConfigError: `name` is none of auto, cpu, cuda, cuda:N, mps.
    """
    if not _DEVICE.fullmatch(name):
        raise ConfigError(
            "there is no device of that name", where=f"device {name}", mend="Known are auto, cpu, cuda, cuda:N, mps"
        )
