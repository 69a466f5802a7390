"""Training on a real GPU, held against the same training on the CPU; skipped where there is none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from midspec.core.artifact import read_rows
from midspec.models import find_checkpoint, open_checkpoint
from midspec.train import MetricsRow, TrainJob, train
from midspec.train._attention import DOCUMENT_ATTENTION
from midspec.train._pack import collate
from midspec.train._probe import choose_computation

from .conftest import RL_LORA
from .test_attention import WIDE, alone_loss, pieces, tiny
from .test_train import StopError, stop_after

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="NO GPU: nothing was trained on one"),
    pytest.mark.timeout(300),
]
MakeJob = Callable[..., TrainJob]
# Wide enough for kernels of varying lengths, whose heads have 16 numbers at least.
WIDER = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4}


def wider(family: str) -> Any:
    """A family's model with heads of 32 numbers, on the GPU."""
    small = tiny(family).config
    small.update(WIDER | {"num_key_value_heads": 2, "head_dim": 32, "attention_multiplier": 32**-0.5})
    torch.manual_seed(0)
    return type(tiny(family))(small).eval().cuda()


def losses(job: TrainJob, folder: Path, device: str, **options: Any) -> list[float]:
    """Train in `folder`; gives the loss of each update."""
    folder.mkdir(exist_ok=True)
    train(job, folder, device=device, **options)
    return [row.loss for row in read_rows(folder / "metrics.jsonl", MetricsRow)]


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3", "mistral", "phi3", "granite"])
def test_the_fast_ways_are_found_and_give_the_loss_of_each_document_alone(family: str) -> None:
    model = wider(family)
    computation = choose_computation(model, WIDE, torch.device("cuda"), torch.bfloat16)
    told = computation.describe()
    assert told["attention"] in (DOCUMENT_ATTENTION, "flash_attention_2")
    assert told["loss"] == "chunked logits, compiled"
    assert told["norms"] == "fused"
    assert told["gates"] == "compiled"
    documents = pieces([40, 7, 23, 40, 9])
    expected = alone_loss(model.cpu().float(), documents).item()
    batch = {name: value.cuda() for name, value in collate([documents], width=120, pad_id=0).items()}
    with torch.no_grad(), computation.installed(model.cuda()), torch.autocast("cuda", torch.bfloat16):
        found = computation.loss(model, batch, 1).item()
    assert found == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("method", ["full", "lora"])
def test_losses_are_those_of_the_cpu(method: str, make_job: MakeJob, base: Path, tmp_path: Path) -> None:
    job = make_job(stage="midtrain", parent=str(base), recipe=RL_LORA if method == "lora" else {})
    found = {device: losses(job, tmp_path / device, device) for device in ("cpu", "cuda")}
    assert found["cuda"] == pytest.approx(found["cpu"], rel=0.02)
    model = open_checkpoint(find_checkpoint(str(tmp_path / "cuda")))
    assert model.device.type == "cuda", "a GPU that is there is taken"


def test_float32_is_computed_too_where_it_is_asked_for(make_job: MakeJob, tmp_path: Path) -> None:
    job = make_job(recipe={"precision": "float32"})
    found = {device: losses(job, tmp_path / device, device) for device in ("cpu", "cuda")}
    assert found["cuda"] == pytest.approx(found["cpu"], rel=1e-3)


def test_an_interrupted_run_ends_like_a_straight_one(make_job: MakeJob, tmp_path: Path) -> None:
    job = make_job(execution={"save_every_updates": 2})
    straight = losses(job, tmp_path / "straight", "cuda")
    with pytest.raises(StopError):
        losses(job, tmp_path / "stopped", "cuda", on_progress=stop_after(5))
    # Sums of a GPU may be made in another order each time.
    assert losses(job, tmp_path / "stopped", "cuda") == pytest.approx(straight, rel=1e-3)
