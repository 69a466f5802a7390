from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from midspec.core.errors import ConfigError
from midspec.models import check_device, choose_gpus, pick_device
from midspec.models._devices import parse_listing, select_gpus

MIG = "MIG-0ee0c8e7-2ce6-5b8d-9e1d-7d0c4a9b1c2d"


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


# As `nvidia-smi -L` prints it: a whole GPU, and one that is divided in two.
LISTING = """\
GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-5f9d7a2c-1111-2222-3333-444455556666)
GPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-aa00bb11-1111-2222-3333-444455556666)
  MIG 3g.40gb     Device  0: (UUID: MIG-0ee0c8e7-2ce6-5b8d-9e1d-7d0c4a9b1c2d)
  MIG 4g.40gb     Device  1: (UUID: MIG-1ff0c8e7-2ce6-5b8d-9e1d-7d0c4a9b1c2d)
"""


def test_a_divided_gpu_counts_as_its_instances() -> None:
    assert parse_listing(LISTING) == (
        "GPU-5f9d7a2c-1111-2222-3333-444455556666",
        "MIG-0ee0c8e7-2ce6-5b8d-9e1d-7d0c4a9b1c2d",
        "MIG-1ff0c8e7-2ce6-5b8d-9e1d-7d0c4a9b1c2d",
    )
    assert parse_listing("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n") == ()


@pytest.mark.parametrize(
    ("listed", "gpus"),
    [
        (None, ("0", "1", "2", "3")),
        ("", ()),
        ("-1", ()),
        ("2,0", ("2", "0")),
        ("1, 3", ("1", "3")),
        ("0,-1,1", ("0",)),
        ("GPU-5f9d7a2c,MIG-0ee0c8e7-2ce6", ("GPU-5f9d7a2c", "MIG-0ee0c8e7-2ce6")),
        ("MIG-GPU-5f9d7a2c/1/0", ("MIG-GPU-5f9d7a2c/1/0",)),
    ],
)
def test_a_list_of_the_user_is_read_as_cuda_reads_it(listed: str | None, gpus: tuple[str, ...]) -> None:
    assert select_gpus(("0", "1", "2", "3"), listed) == gpus
    assert select_gpus((), listed) == ()


def test_a_device_stands_for_gpus_of_that_list() -> None:
    assert choose_gpus("auto", ("7", MIG)) == choose_gpus("cuda", ("7", MIG)) == ("7", MIG)
    assert choose_gpus("cuda:1", ("7", MIG)) == (MIG,)
    assert choose_gpus("cpu", ("7", MIG)) == choose_gpus("auto", ()) == ()
    with pytest.raises(ConfigError, match="device cuda:2: there are 2 GPUs, counted from 0"):
        choose_gpus("cuda:2", ("7", MIG))
    with pytest.raises(ConfigError, match="device cuda: there is no GPU"):
        choose_gpus("cuda", ())
