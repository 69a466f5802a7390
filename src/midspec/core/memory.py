"""Memory of freed tensors, which glibc gives back to the system by default and is given again page by page."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

REUSED_MEMORY = {
    "GLIBC_TUNABLES": ":".join(
        f"glibc.malloc.{name}={value}"
        for name, value in (
            ("hugetlb", 1),
            ("trim_threshold", 2**31),
            ("top_pad", 64 * 2**20),
            ("mmap_threshold", 32 * 2**20),
        )
    )
}
"""Has a process keep the memory of freed tensors, in pages of 2 MB, where the C library is glibc.

Without it trainings of small models by two workers on two cores took 1.2 to 1.45 times as long, and LoRA on
SmolLM2-135M in one process 1.2 times (LOG.md). A value that the user has set stays.
"""


def restart_with_reused_memory() -> None:
    """Start this process's program anew with `REUSED_MEMORY`, which the C library reads as a program begins.

    It goes on as it is where the variable is set already, and without glibc.
    """
    is_glibc = False
    with suppress(AttributeError, ValueError, OSError):
        is_glibc = "glibc" in (os.confstr("CS_GNU_LIBC_VERSION") or "")
    if is_glibc and sys.executable and not REUSED_MEMORY.keys() & os.environ.keys():
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **REUSED_MEMORY})  # noqa: S606
