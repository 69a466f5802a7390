"""Freed memory is kept and used again, so that an update doesn't ask the kernel for its pages anew."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

_CODE = """
import json, resource, sys
import torch
from midspec.models import reuse_memory
torch.set_num_threads(1)
kept = sys.argv[1] == "kept" and reuse_memory()
def work():
    return sum(float(torch.full((3_000_000,), 1.0).exp_().sum()) for _ in range(3))
work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
total = sum(work() for _ in range(10))
faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(json.dumps({"kept": kept, "faults": faults, "total": total}))
"""


def _measured(how: str) -> dict[str, float]:
    code = [sys.executable, "-c", _CODE, how]
    found = subprocess.run(code, capture_output=True, text=True, check=True)
    result: dict[str, float] = json.loads(found.stdout)
    return result


@pytest.mark.skipif(sys.platform != "linux", reason="the allocator of glibc")
def test_tensors_that_follow_one_another_take_the_same_pages_and_hold_the_same_numbers() -> None:
    plain, kept = _measured("plain"), _measured("kept")
    assert kept["total"] == plain["total"]
    if kept["kept"]:
        assert kept["faults"] < plain["faults"] / 10
        assert kept["faults"] < 500
