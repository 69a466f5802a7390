from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from midspec.core.errors import ConfigError
from midspec.models import check_device, pick_device


@pytest.mark.parametrize("name", ["gpu", "", "cuda:", "cuda:x", "CPU", "cpu:1", "meta"])
def test_a_word_that_names_no_device_is_refused_with_those_that_do(name: str) -> None:
    for refuses in (check_device, pick_device):
        with pytest.raises(ConfigError, match="Known are auto, cpu, cuda, cuda:N, mps"):
            refuses(name)


@pytest.mark.parametrize("name", ["auto", "cpu", "cuda", "cuda:0", "cuda:11", "mps"])
def test_a_word_that_names_a_device_passes_whether_it_is_here_or_not(name: str) -> None:
    check_device(name)


def test_a_device_is_checked_without_loading_torch() -> None:
    code = "import sys; from midspec.models import check_device; check_device('cuda'); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_device_that_is_not_here_is_said_and_not_taken() -> None:
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="device cuda:1: there is no GPU that torch can use"):
            pick_device("cuda:1")
    if not torch.backends.mps.is_available():
        with pytest.raises(ConfigError, match="device mps: there is no GPU that torch can use"):
            pick_device("mps")
    with pytest.raises(ConfigError, match="torch"):
        pick_device("cuda:999")
