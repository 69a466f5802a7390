"""Devices are measured in a process of their own: errors are those of the types' roundings, faults are told."""

from __future__ import annotations

import math
import time
from pathlib import Path

import pytest
import torch

from midspec.models import check_devices
from midspec.models._device_check import measure

# A number is rounded to the nearest of those that are `eps` apart, relative to the power of two below it. For numbers
# spread evenly on a logarithmic scale the root mean square of the relative error is eps * sqrt(3 / 8 / log(2) / 12).
_RMS = math.sqrt(3 / 8 / math.log(2) / 12)


@pytest.mark.parametrize("name", ["bfloat16", "float16"])
def test_the_error_of_a_product_is_that_of_rounding_what_goes_in_and_what_comes_out(name: str) -> None:
    found = measure(torch.device("cpu"), name)
    rounding = _RMS * torch.finfo(getattr(torch, name)).eps
    # Both factors and the result are rounded, each without regard to the others.
    assert found.error == pytest.approx(math.sqrt(3) * rounding, rel=0.1)
    assert found.gflops
    assert found.gflops > 0


def test_float32_is_ten_thousand_times_as_exact_as_bfloat16() -> None:
    single, half = (measure(torch.device("cpu"), name).error for name in ("float32", "bfloat16"))
    assert single
    assert half
    assert single < half / 1_000


def test_a_type_that_a_device_does_not_compute_is_told_and_the_switch_for_tf32_is_as_before() -> None:
    before = torch.backends.cuda.matmul.allow_tf32
    found = measure(torch.device("cpu"), "quint8")
    assert found.error is None
    assert found.failed
    assert torch.backends.cuda.matmul.allow_tf32 == before


@pytest.mark.slow
def test_the_cpu_is_found_with_the_type_that_midspec_takes_on_it() -> None:
    found = check_devices()
    assert (found.version, found.failed, found.opens_models) == (torch.__version__, "", True)
    cpu = found.devices[-1]
    assert cpu.name == "cpu"
    assert [one.dtype for one in cpu.arithmetic] == ["float32", "bfloat16", "float16"]
    assert found.takes["cpu"] in {"float32", "bfloat16"}


def _with_torch(code: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a module called torch in front of the installed one."""
    (folder / "torch.py").write_text(code, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(folder))


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("raise ImportError('libcudart.so.13: cannot open shared object file')", "libcudart.so.13"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGILL)", "signal 4"),
        ("import sys; sys.exit(3)", "without a word"),
    ],
)
def test_a_torch_that_does_not_import_is_told_in_one_line(
    code: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _with_torch(code, tmp_path, monkeypatch)
    found = check_devices()
    assert said in found.failed
    assert "\n" not in found.failed
    assert found.version == ""


def test_a_torch_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _with_torch("import time; time.sleep(60)", tmp_path, monkeypatch)
    start = time.monotonic()
    assert check_devices(limit_s=1).failed == "no answer within 1 s"
    assert time.monotonic() - start < 20
