from __future__ import annotations

import json
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer

from midspec.core.errors import FolderError
from midspec.models import find_checkpoint
from midspec.train import TrainJob, train
from midspec.train._checkpoint import refuse_full_disk, writing

MakeJob = Callable[..., TrainJob]
LORA = {"method": "lora", "lora": {"r": 4, "alpha": 8, "target_modules": ["q_proj", "v_proj", "down_proj"]}}


@contextmanager
def files_end_at(n_bytes: int) -> Iterator[None]:
    """Within it, the system refuses to let any file grow longer."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_tokenizer_that_finds_no_room_is_a_folder_error(tokenizer_folder: Path, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    with (
        files_end_at(100),
        pytest.raises(FolderError, match=r"can't be written.*os error.*Free space"),
        writing(tmp_path),
    ):
        tokenizer.backend_tokenizer.save(str(tmp_path / "tokenizer.json"))


@pytest.mark.parametrize("error", [Exception("a fault"), RuntimeError("a fault"), OSError(2, "no such file")])
def test_a_fault_that_is_not_about_room_passes_as_it_is(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(type(error)) as caught, writing(tmp_path):
        raise error
    assert caught.value is error


def test_weights_that_will_not_fit_are_refused_before_training(tmp_path: Path) -> None:
    small = torch.nn.Linear(8, 8)
    refuse_full_disk(small, tmp_path)
    huge = torch.nn.Linear(10**8, 10**7, device="meta")
    with pytest.raises(FolderError, match=r"MB of room, and training needs 24,000,000,240\.0 MB") as caught:
        refuse_full_disk(huge, tmp_path)
    assert "\n" not in str(caught.value)


def test_every_result_file_is_as_readable_as_any_other(make_job: MakeJob, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    before = os.umask(0o027)
    try:
        built = train(make_job(), tmp_path / "out", device="cpu")
    finally:
        os.umask(before)
    assert "model.safetensors" in built.outputs
    assert {(tmp_path / "out" / name).stat().st_mode & 0o777 for name in built.outputs} == {0o640}


def test_an_adapter_over_a_folder_opens_from_anywhere(
    make_job: MakeJob,
    tokenizer_folder: Path,
    tiny_model: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    base = (tmp_path / "qwen").resolve()
    tiny_model("qwen3").save_pretrained(base)
    AutoTokenizer.from_pretrained(tokenizer_folder).save_pretrained(base)
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path)
    built = train(make_job(stage="midtrain", parent="qwen", recipe=LORA), Path("out"), device="cpu")
    assert json.loads((tmp_path / "out" / "adapter_config.json").read_text())["base_model_name_or_path"] == str(base)
    assert "adapter_config.json" not in built.outputs
    monkeypatch.chdir("/")
    assert find_checkpoint(str(tmp_path / "out")).model == str(base)


def test_a_row_may_be_wider_than_the_models_positions_when_no_piece_is(make_job: MakeJob, tmp_path: Path) -> None:
    small = make_job().architecture
    assert small is not None
    (tmp_path / "out").mkdir()
    job = make_job(architecture=small | {"max_position_embeddings": 40}, recipe={"row_tokens": 64})
    built = train(job, tmp_path / "out", device="cpu")
    assert built.summary["row_width"] == 64
