"""Models that can't keep packed documents apart train on the same updates, one document a row."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from midspec.core.errors import CheckpointError
from midspec.train import Preflight, TrainJob, preflight, train
from midspec.train._pack import Piece, collate
from midspec.train._plan import _groups_by_length

from .reference_loop import run_reference

MakeJob = Callable[..., TrainJob]
SIZES: dict[str, Any] = {
    "vocab_size": 46,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": 1,
    "initializer_range": 0.08,
}
LINEAR = {
    "head_dim": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 2,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "linear_conv_kernel_dim": 4,
    "layer_types": ["linear_attention", "full_attention"],
}
MAMBA = {"mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 8, "mamba_n_groups": 1, "mamba_expand": 2}
FAMILIES: dict[str, dict[str, Any]] = {
    "qwen3_next": LINEAR
    | {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "shared_expert_intermediate_size": 32},
    "lfm2": {"layer_types": ["conv", "full_attention"]},
    "mamba2": {"num_heads": 4, "head_dim": 16, "state_size": 8, "n_groups": 1, "expand": 2, "chunk_size": 8},
    "granitemoehybrid": MAMBA
    | {
        "layer_types": ["mamba", "attention"],
        "shared_intermediate_size": 64,
        "num_local_experts": 0,
        "num_experts_per_tok": 0,
        "mamba_chunk_size": 8,
    },
    "gpt_oss": {"num_local_experts": 4, "num_experts_per_tok": 2, "head_dim": 8, "sliding_window": 16},
    "opt": {"ffn_dim": 64, "word_embed_proj_dim": 32, "init_std": 0.08, "dropout": 0.0},
    "bloom": {"n_head": 4, "n_layer": 2},
}


@pytest.fixture
def parent(tokenizer_folder: Path, tmp_path: Path) -> Callable[[str], Path]:
    def save(family: str) -> Path:
        torch.manual_seed(0)
        sizes = SIZES | FAMILIES.get(family, {})
        folder = tmp_path / family
        AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **sizes)).save_pretrained(folder)
        AutoTokenizer.from_pretrained(tokenizer_folder).save_pretrained(folder)
        return folder

    return save


def losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


def trained(job: TrainJob, folder: Path) -> Any:
    folder.mkdir()
    return train(job, folder, device="cpu")


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_that_can_not_be_packed_trains_as_if_every_document_went_alone(
    make_job: MakeJob, parent: Callable[[str], Path], tmp_path: Path, family: str
) -> None:
    job = make_job(stage="midtrain", parent=str(parent(family)), recipe={"n_updates": 3})
    built = trained(job, tmp_path / "out")
    assert built.summary["packed"] is False
    reference = run_reference(job)
    assert losses(tmp_path / "out") == pytest.approx(reference.losses, abs=2e-5)
    weights = load_file(tmp_path / "out" / "model.safetensors")
    expected = reference.model.state_dict()
    assert all(torch.allclose(weights[name], expected[name], atol=2e-4) for name in weights if name in expected)


def test_one_document_a_row_makes_the_same_updates_as_packed_rows(
    make_job: MakeJob, parent: Callable[[str], Path], tmp_path: Path
) -> None:
    base = str(parent("llama"))
    packed = trained(make_job(stage="midtrain", parent=base), tmp_path / "packed")
    apart = trained(make_job(stage="midtrain", parent=base, recipe={"pack": "never"}), tmp_path / "apart")
    assert "packed" not in packed.summary
    assert apart.summary["packed"] is False
    assert losses(tmp_path / "apart") == pytest.approx(losses(tmp_path / "packed"), abs=1e-5)
    larger = make_job(stage="midtrain", parent=base, recipe={"pack": "never", "micro_batch": 4})
    trained(larger, tmp_path / "larger")
    assert losses(tmp_path / "larger") == pytest.approx(losses(tmp_path / "packed"), abs=1e-5)


def test_a_model_that_leaks_is_refused_where_packing_is_a_must(
    make_job: MakeJob, parent: Callable[[str], Path], tmp_path: Path
) -> None:
    job = make_job(stage="midtrain", parent=str(parent("lfm2")), recipe={"pack": "always"})
    with pytest.raises(CheckpointError, match=r"packed documents see each other.*Set recipe\.pack to auto"):
        trained(job, tmp_path / "out")


def test_rows_wider_than_a_models_mask_hold_one_document_each(
    make_job: MakeJob, parent: Callable[[str], Path], tmp_path: Path
) -> None:
    tables = {"gpt_neo": {"attention_types": [[["global", "local"], 1]], "num_layers": 2, "num_heads": 4}, "gpt2": {}}
    sizes = SIZES | {"max_position_embeddings": 64, "bos_token_id": 1}
    base = parent("llama")  # its tokenizer
    for family, more in tables.items():
        AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **(sizes | more))).save_pretrained(base)
        job = make_job(stage="midtrain", parent=str(base), recipe={"row_tokens": 128, "n_updates": 2})
        assert trained(job, tmp_path / f"{family} out").summary.get("packed", True) is (family == "gpt2")
    AutoModelForCausalLM.from_config(AutoConfig.for_model("gpt_neo", **(sizes | tables["gpt_neo"]))).save_pretrained(
        base
    )
    job = make_job(stage="midtrain", parent=str(base), recipe={"row_tokens": 128, "n_updates": 2, "pack": "always"})
    with pytest.raises(CheckpointError, match=r"takes no packed row of .* tokens\. Lower recipe\.row_tokens"):
        trained(job, tmp_path / "always")


def test_the_padding_of_documents_that_stand_alone_is_counted(make_job: MakeJob) -> None:
    packed, apart = preflight(make_job()), preflight(make_job(recipe={"pack": "never"}))
    assert apart.real_tokens == packed.real_tokens
    assert apart.supervised_tokens == packed.supervised_tokens
    assert apart.n_updates == packed.n_updates
    assert 0 < apart.padded_tokens < apart.real_tokens
    assert "one document" in apart.lines()[1]
    for counted in (packed, apart):
        assert Preflight.model_validate_json(counted.model_dump_json()).model_dump() == counted.model_dump()
    assert "packed" not in packed.model_dump_json()


def piece(length: int) -> Piece:
    return Piece(np.arange(1, length + 1, dtype=np.int32), np.ones(length, dtype=np.bool_))


@given(lengths=st.lists(st.integers(1, 60), min_size=1, max_size=40), data=st.data())
def test_groups_hold_every_piece_once_and_none_is_larger_than_it_must_be(lengths: list[int], data: Any) -> None:
    n_groups = data.draw(st.integers(1, len(lengths)))
    groups = _groups_by_length([piece(length) for length in lengths], n_groups)
    assert len(groups) == n_groups
    assert all(groups)
    assert sorted(len(each.ids) for group in groups for each in group) == sorted(lengths)
    largest = max(len(group) * max(len(each.ids) for each in group) for group in groups)
    assert largest <= _best(sorted(lengths, reverse=True), n_groups)


def _best(lengths: list[int], n_groups: int) -> int:
    """The smallest largest group over all ways to cut, by trying every first cut."""
    table = {(0, 0): 0}
    for end in range(1, len(lengths) + 1):
        for count in range(1, n_groups + 1):
            options = [
                max(table[begin, count - 1], lengths[begin] * (end - begin))
                for begin in range(end)
                if (begin, count - 1) in table
            ]
            if options:
                table[end, count] = min(options)
    return min(table[len(lengths), count] for count in range(1, n_groups + 1) if (len(lengths), count) in table)


def test_rows_of_one_document_are_padded_on_the_right_and_masked() -> None:
    batch = collate([[piece(3), piece(1)], [piece(2)]], width=99, pad_id=7, packed=False)
    assert batch["input_ids"].tolist() == [[1, 2, 3], [1, 7, 7], [1, 2, 7]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0], [1, 1, 0]]
    assert batch["labels"].tolist() == [[1, 2, 3], [1, -100, -100], [1, 2, -100]]
    assert set(batch) == {"input_ids", "attention_mask", "labels"}
