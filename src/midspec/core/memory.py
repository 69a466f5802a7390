"""Memory of processes that train: freed tensors' pages, and what oneDNN keeps for each shape of a product.

glibc gives freed memory back to the system by default, and is given it again page by page. oneDNN keeps a program of
0.9 MB for each shape of a product in bfloat16, and torch a second list of them, up to 1,024 each; packed rows have
other shapes in each update.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress

_TUNABLES = "GLIBC_TUNABLES"

MEMORY_SETTINGS = {
    _TUNABLES: ":".join(
        f"glibc.malloc.{name}={value}"
        for name, value in (
            ("hugetlb", 1),
            ("trim_threshold", 2**31),
            ("top_pad", 64 * 2**20),
            ("mmap_threshold", 32 * 2**20),
        )
    ),
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "128",
    "LRU_CACHE_CAPACITY": "128",
}
"""Has a process keep the memory of freed tensors, in pages of 2 MB, where the C library is glibc, and few programs.

Without the first trainings of small models by two workers on two cores took 1.2 to 1.45 times as long, and LoRA on
SmolLM2-135M in one process 1.2 times (LOG.md). Without the others the latter held 3.5 GB after 12 updates and 4.6 GB
after 50, instead of 2.6 and 2.8 GB. A value that the user has set stays.
"""


def restart_with_memory_settings() -> None:
    """Start this process's program anew with `MEMORY_SETTINGS`, which the C library reads as a program begins.

    It goes on as it is where glibc's variable is set already, and without glibc.
    """
    is_glibc = False
    with suppress(AttributeError, ValueError, OSError):
        is_glibc = "glibc" in (os.confstr("CS_GNU_LIBC_VERSION") or "")
    if is_glibc and sys.executable and _TUNABLES not in os.environ:
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**MEMORY_SETTINGS, **os.environ})  # noqa: S606
