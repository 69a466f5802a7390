from __future__ import annotations

import json
import logging
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config, GPT2LMHeadModel

from midspec.core.artifact import CHECKPOINTS, build
from midspec.core.errors import CheckpointError, ConfigError, FolderError
from midspec.core.records import Identity
from midspec.models import find_checkpoint
from midspec.train import Progress, TrainJob, train
from midspec.train._checkpoint import refuse_full_disk, writing

MakeJob = Callable[..., TrainJob]
LORA = {"method": "lora", "lora": {"r": 4, "alpha": 8, "target_modules": ["q_proj", "v_proj", "down_proj"]}}


@contextmanager
def files_end_at(n_bytes: int) -> Iterator[None]:
    """Within it, the system refuses to let any file grow longer."""
    limits, writes_none = resource.getrlimit(resource.RLIMIT_FSIZE), sys.dont_write_bytecode
    sys.dont_write_bytecode = True  # Python would cut off what it compiles, and read that ever after
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        sys.dont_write_bytecode = writes_none


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


# Nothing that was finished is lost -----------------------------------------------------------------------------


@pytest.fixture
def parent(tiny_model: Callable[..., Any], tokenizer_folder: Path, tmp_path: Path) -> Path:
    """A small Llama with its tokenizer, as a folder that a test may change."""
    folder = tmp_path / "parent"
    tiny_model("llama").save_pretrained(folder)
    AutoTokenizer.from_pretrained(tokenizer_folder).save_pretrained(folder)
    return folder


def results(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "record.json"}


def make(job: TrainJob, folder: Path, on_progress: Callable[[Progress], None] | None = None) -> Path:
    """Train as the command does: in a draft beside `folder`, with a record at the end."""
    identity = Identity(step="train", inputs={}, config=job.recipe.identity())
    build(
        folder,
        identity,
        lambda draft: train(job, draft, device="cpu", on_progress=on_progress, keep_checkpoints=True),
        resumable=True,
    )
    return folder


def checkpoints(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder.with_name(f".{folder.name}.part") / CHECKPOINTS).glob("*"))


class Watch:
    """Notes the updates, and raises after one of them."""

    def __init__(self, after: int = 0, error: BaseException | None = None) -> None:
        self.seen: list[int] = []
        self._after, self._error = after, error

    def __call__(self, progress: Progress) -> None:
        self.seen.append(progress.update)
        if progress.update == self._after and self._error is not None:
            raise self._error


def test_a_gpu_out_of_memory_keeps_the_checkpoint_and_a_smaller_micro_batch_goes_on(
    make_job: MakeJob, tmp_path: Path
) -> None:
    job = make_job(execution={"save_every_updates": 2})
    straight = make(job, tmp_path / "straight")
    with pytest.raises(ConfigError, match=r"memory is too small for 4 rows of .*goes on after update 4") as caught:
        make(job, tmp_path / "out", Watch(5, torch.OutOfMemoryError("CUDA out of memory")))
    assert "\n" not in str(caught.value)
    assert caught.value.where == "recipe.micro_batch"
    assert checkpoints(tmp_path / "out") == ["checkpoint-4"]
    smaller, watch = make_job(execution={"save_every_updates": 2}, recipe={"micro_batch": 1}), Watch()
    make(smaller, tmp_path / "out", watch)
    assert watch.seen == [5, 6, 7]
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (tmp_path / "out", straight))
    assert all(torch.allclose(ours[name], theirs[name], atol=1e-5) for name in theirs)


@pytest.mark.parametrize(
    ("error", "is_one"),
    [
        (RuntimeError("[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory: you"), True),
        (torch.AcceleratorError("CUDA error: out of memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 18.08 GB, max allowed: 18.13 GB)."), True),
        (torch.AcceleratorError("CUDA error: device-side assert triggered"), False),
        (RuntimeError("The size of tensor a (128) must match the size of tensor b (255)"), False),
    ],
)
def test_a_lack_of_memory_is_one_line_in_every_form_of_torch(
    make_job: MakeJob, tmp_path: Path, error: RuntimeError, is_one: bool
) -> None:
    expected, says = (ConfigError, "memory is too small for 4 rows") if is_one else (type(error), None)
    with pytest.raises(expected, match=says):
        make(make_job(), tmp_path / "out", Watch(1, error))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB, which only root can mount."""
    place = tmp_path / "disk"
    place.mkdir()
    asked = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)]
    mount = shutil.which("mount")
    if mount is None or os.geteuid() != 0 or subprocess.run(asked, check=False, capture_output=True).returncode != 0:
        pytest.skip("NOT TESTED: a disk that fills up in mid-run, because this user can't mount a tmpfs")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_disk_that_fills_up_keeps_the_checkpoint_and_the_same_command_goes_on(
    make_job: MakeJob, small_disk: Path, tmp_path: Path
) -> None:
    job = make_job(execution={"save_every_updates": 2})
    straight = make(job, tmp_path / "straight")
    filler = small_disk / "of another program"

    def fill(progress: Progress) -> None:
        if progress.update == 5:
            with suppress(OSError), filler.open("wb", buffering=0) as file:
                while True:
                    file.write(b"x" * 4096)

    with pytest.raises(FolderError, match=r"can't be written.*goes on after update 4") as caught:
        make(job, small_disk / "out", fill)
    assert "\n" not in str(caught.value)
    assert checkpoints(small_disk / "out") == ["checkpoint-4"]
    with pytest.raises(FolderError):  # still full: nothing is lost by trying
        make(job, small_disk / "out")
    assert checkpoints(small_disk / "out") == ["checkpoint-4"]
    filler.unlink()
    watch = Watch()
    make(job, small_disk / "out", watch)
    assert watch.seen == [5, 6, 7]
    assert results(small_disk / "out") == results(straight)


KILLED = """
import os, signal, sys
from pathlib import Path
from midspec.core.artifact import build
from midspec.core.records import Identity
from midspec.train import TrainJob, train

job, folder, where = TrainJob.model_validate_json(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
draft = str(folder.with_name(f".{folder.name}.part"))
seen = []

def kill(event, arguments):  # as a machine does that is taken away at this very moment
    names = [str(argument) for argument in arguments if isinstance(argument, (str, os.PathLike))]
    writes = len(seen) == 7 and event in ("os.mkdir", "open", "os.rename")
    if writes and any(name.startswith(draft + where) for name in names):
        os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(kill)
identity = Identity(step="train", inputs={}, config=job.recipe.identity())
make = lambda draft: train(job, draft, device="cpu", on_progress=seen.append, keep_checkpoints=True)
build(folder, identity, make, resumable=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "where"), [({}, "/.unfinished"), ({}, "/.metrics"), ({}, "/.record"), (LORA, "/.unfinished")]
)
def test_a_run_that_is_killed_while_its_result_is_made_has_lost_no_update(
    make_job: MakeJob, parent: Path, tmp_path: Path, recipe: dict[str, Any], where: str
) -> None:
    job = make_job(stage="midtrain", parent=str(parent), recipe=recipe)
    call = [sys.executable, "-c", KILLED, job.model_dump_json(exclude_unset=True), str(tmp_path / "out"), where]
    ended = subprocess.run(call, check=False, capture_output=True, text=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr[-2000:]
    watch = Watch()
    make(job, tmp_path / "out", watch)
    assert watch.seen == []
    assert results(tmp_path / "out") == results(make(job, tmp_path / "straight"))


@pytest.mark.parametrize("recipe", [{}, LORA], ids=["full", "lora"])
def test_what_can_not_be_saved_is_refused_before_the_first_update(
    make_job: MakeJob, parent: Path, tmp_path: Path, recipe: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tokenizer that will not be written stands for any fault of saving."""
    job, watch = make_job(stage="midtrain", parent=str(parent), recipe=recipe), Watch()

    def broken(*_: Any, **__: Any) -> None:
        raise TypeError("Object of type dtype is not JSON serializable")

    monkeypatch.setattr("transformers.PreTrainedTokenizerFast.save_pretrained", broken)
    with pytest.raises(CheckpointError, match=r"could not be saved \(Object of type dtype"):
        make(job, tmp_path / "out", watch)
    assert watch.seen == []
    assert not (tmp_path / ".out.part").exists()


def generation(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "generation_config.json").read_text())
    return found


@pytest.mark.parametrize(
    ("settings", "says", "saved"),
    [
        ({"temperature": 0.9, "top_p": 0.6}, "do_sample: true", {"temperature": 0.9, "top_p": 0.6, "do_sample": True}),
        ({"temperature": 0.0}, "do_sample: true", {"temperature": 1.0, "top_k": 1, "do_sample": True}),
        ({"temperature": 0.9, "num_beams": 1, "length_penalty": 2.0}, "only its token ids", {}),
    ],
)
def test_a_parents_invalid_generation_settings_are_mended_and_told(
    make_job: MakeJob,
    parent: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    settings: dict[str, Any],
    says: str,
    saved: dict[str, Any],
) -> None:
    """Vicuna and the first Llama 2 set a temperature without do_sample; transformers then saves nothing."""
    (parent / "generation_config.json").write_text(json.dumps({"eos_token_id": 1, "pad_token_id": 3} | settings))
    with caplog.at_level(logging.WARNING, "midspec"):
        make(make_job(stage="midtrain", parent=str(parent)), tmp_path / "out")
    assert sum(says in record.message for record in caplog.records) == 1
    found = generation(tmp_path / "out")
    names = ("temperature", "top_p", "top_k", "do_sample")
    assert {name: found.get(name) for name in names if found.get(name)} == saved
    assert found["eos_token_id"] == [1, 4]


def test_the_ends_that_a_parent_names_are_kept_beside_the_templates(
    make_job: MakeJob, parent: Path, tmp_path: Path
) -> None:
    (parent / "generation_config.json").write_text('{"eos_token_id": [1, 5], "pad_token_id": 0}')
    make(make_job(stage="midtrain", parent=str(parent)), tmp_path / "out")
    assert generation(tmp_path / "out")["eos_token_id"] == [1, 4, 5]


def test_two_embeddings_that_differ_are_not_called_tied(make_job: MakeJob, parent: Path, tmp_path: Path) -> None:
    """A parent may say that they are one matrix and hold two; readers that believe it lose one of them."""
    model = AutoModelForCausalLM.from_pretrained(parent)
    assert model.config.tie_word_embeddings
    make(make_job(stage="midtrain", parent=str(parent)), tmp_path / "tied")
    model.config.tie_word_embeddings = False
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach() * 2)
    model.save_pretrained(parent)
    config = json.loads((parent / "config.json").read_text())
    (parent / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": True}))
    make(make_job(stage="midtrain", parent=str(parent)), tmp_path / "apart")
    for name, is_tied in (("tied", True), ("apart", False)):
        assert json.loads((tmp_path / name / "config.json").read_text())["tie_word_embeddings"] is is_tied
        weights = load_file(tmp_path / name / "model.safetensors")
        assert ("lm_head.weight" in weights) is not is_tied


# Positions and tokens ------------------------------------------------------------------------------------------


def test_the_padding_of_a_row_asks_for_no_position_that_the_model_lacks(
    make_job: MakeJob, tokenizer_folder: Path, tmp_path: Path
) -> None:
    """GPT-2 looks positions up in a table: rows of 256 tokens with pieces of at most 31 fit 40 positions."""
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=46, n_positions=40, n_embd=32, n_layer=2, n_head=4, bos_token_id=1, eos_token_id=1)
    GPT2LMHeadModel(config).save_pretrained(tmp_path / "gpt2")
    AutoTokenizer.from_pretrained(tokenizer_folder).save_pretrained(tmp_path / "gpt2")
    recipe = {"row_tokens": 256, "rows_per_update": 2, "n_updates": None}
    make(make_job(stage="midtrain", parent=str(tmp_path / "gpt2"), recipe=recipe), tmp_path / "out")


def test_a_token_that_only_the_tokenizer_knows_is_refused_where_a_row_uses_it_and_not_else(
    make_job: MakeJob, parent: Path, tmp_path: Path
) -> None:
    """Gemma 3 1B has one token for images that its embedding has no row for."""
    tokenizer = AutoTokenizer.from_pretrained(parent)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]}, replace_extra_special_tokens=False)
    tokenizer.save_pretrained(parent)
    make(make_job(stage="midtrain", parent=str(parent)), tmp_path / "out")
    rows = tmp_path / "image.jsonl"
    rows.write_text('{"text": "w1 <image> w2"}\n' * 40)
    recipe = {"n_updates": 1, "control_tokens": "keep"}
    job = make_job(stage="midtrain", parent=str(parent), data=[str(rows)], recipe=recipe)
    with pytest.raises(CheckpointError, match=r"47 tokens and the model 46, and a row uses '<image>' \(46\)"):
        make(job, tmp_path / "no")
