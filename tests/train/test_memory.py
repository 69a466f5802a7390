"""The forecast of memory, held against what real trainings used at their peak."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM

from midspec.core.errors import PreflightError
from midspec.models import quiet
from midspec.train import GrpoRecipe, TrainJob, _memory, memory_before
from midspec.train._memory import forecast_memory, refuse_too_large, sizes_of

MakeJob = Callable[..., TrainJob]
CPU = torch.device("cpu")
FORECAST: dict[str, Any] = {"row_width": 48, "dtype": torch.float32, "device": CPU}


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3", "mistral", "gemma2"])
def test_all_weights_of_a_model_are_counted_once_and_whole_training_needs_four_times_them(
    make_job: MakeJob, tiny_model: Callable[..., Any], family: str
) -> None:
    model = tiny_model(family, "eager")
    sizes = sizes_of(model)
    assert sizes.trained == model.num_parameters()
    assert sizes.frozen == 0
    forecast = forecast_memory(sizes, make_job(recipe={"micro_batch": 1}), 1, **FORECAST)
    n_bytes = sum(weight.nbytes for weight in model.parameters())
    assert (forecast.weights, forecast.gradients, forecast.optimizer) == (n_bytes, n_bytes, 2 * n_bytes)
    assert forecast.lasting == 4 * n_bytes


def test_layers_that_differ_in_their_heads_are_counted_as_their_mean(make_job: MakeJob) -> None:
    """Gemma 4 gives the sizes of its layers one by one, and transformers no size for all of them."""
    sizes = {"head_dim": 8, "global_head_dim": 16, "num_attention_heads": 4, "num_key_value_heads": 2}
    sizes |= {"hidden_size": 32, "intermediate_size": 64, "vocab_size": 64, "hidden_size_per_layer_input": 0}
    kinds = ["sliding_attention", "sliding_attention", "full_attention", "full_attention"]
    shapes = {}
    for name, changed in {"even": {"global_head_dim": 8}, "differ": {}}.items():
        config = AutoConfig.for_model(
            "gemma4_text",
            num_hidden_layers=4,
            layer_types=kinds,
            **{**sizes, "vocab_size_per_layer_input": 64, **changed},
        )
        shapes[name] = sizes_of(AutoModelForCausalLM.from_config(config)).shape
    assert (shapes["even"].queries, shapes["even"].keys) == (32, 16)
    assert (shapes["differ"].queries, shapes["differ"].keys) == (48, 24)
    line = forecast_memory(sizes_of(AutoModelForCausalLM.from_config(config)), make_job(), 1, **FORECAST).line()
    assert "()" not in line


def test_a_divided_model_needs_less_in_each_process_and_checkpointing_less_for_a_batch(
    make_job: MakeJob, tiny_model: Callable[..., Any]
) -> None:
    sizes = sizes_of(tiny_model("llama"))
    one = forecast_memory(sizes, make_job(), 1, **FORECAST)
    four = forecast_memory(sizes, make_job(), 4, **FORECAST)
    saving = forecast_memory(sizes, make_job(execution={"gradient_checkpointing": True}), 1, **FORECAST)
    assert four.optimizer * 4 == one.optimizer
    assert four.activations * 4 == one.activations, "a process takes a quarter of the rows"
    assert saving.activations < one.activations
    assert saving.lasting == one.lasting


def test_pairs_need_a_reference_and_both_replies_of_an_update_at_once(
    make_job: MakeJob, tiny_model: Callable[..., Any]
) -> None:
    sizes = sizes_of(tiny_model("llama"))
    job = make_job(recipe={"rows_per_update": 4, "micro_batch": 1})
    row = forecast_memory(sizes, job, 1, **FORECAST)

    def of(stage: str, **recipe: Any) -> _memory.Forecast:
        changed = job.recipe.model_copy(update={"micro_batch": None, **recipe})
        return forecast_memory(sizes, job.model_copy(update={"stage": stage, "recipe": changed}), 1, **FORECAST)

    pairs, one_pair = of("dpo"), of("dpo", micro_batch=1)
    assert pairs.weights == 2 * row.weights
    assert (pairs.optimizer, one_pair.lasting - one_pair.gradients) == (row.optimizer, 4 * row.weights)
    assert (one_pair.activations, pairs.activations) == (2 * row.activations, 8 * row.activations)
    penalized = of("grpo", grpo=GrpoRecipe(beta=0.1))
    assert (penalized.weights, penalized.activations) == (2 * row.weights, 4 * row.activations)
    assert of("grpo", grpo=GrpoRecipe()).weights == row.weights


def test_replies_are_written_all_at_once_with_a_cache_of_their_own(
    make_job: MakeJob, tiny_model: Callable[..., Any]
) -> None:
    """Counted in the library's own cache and logits, for 64 replies of 48 tokens."""
    model, n_replies, n_tokens = tiny_model("llama"), 64, 48
    grpo = GrpoRecipe(max_new_tokens=16)
    recipe = make_job().recipe.model_copy(update={"rows_per_update": n_replies, "micro_batch": 1, "grpo": grpo})
    job = make_job().model_copy(update={"stage": "grpo", "recipe": recipe})
    forecast = forecast_memory(sizes_of(model), job, 1, **FORECAST)
    with torch.no_grad():
        cache = model(input_ids=torch.zeros(n_replies, n_tokens, dtype=torch.long), use_cache=True).past_key_values
    kept = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
    logits = n_replies * model.config.vocab_size * 4
    assert kept + 4 * logits < forecast.sampling < 4 * (kept + 5 * logits)
    assert forecast.is_sampled
    assert forecast.total == forecast.weights + forecast.optimizer + forecast.sampling + forecast.process
    tight = forecast._replace(available=forecast.lasting + 1000)
    assert "sampling" in forecast._replace(process=0).line()
    assert tight.line().endswith("lower recipe.rows_per_update or grpo.max_new_tokens")
    assert forecast_memory(sizes_of(model), make_job(), 1, **FORECAST).sampling == 0


def test_before_the_model_is_opened_the_forecast_is_that_of_the_model(
    make_job: MakeJob, tiny_model: Callable[..., Any]
) -> None:
    job = make_job()
    before = memory_before(job, 48, "cpu")
    assert before == forecast_memory(sizes_of(tiny_model("llama")), job, 1, **FORECAST)
    assert before is not None
    assert before.line().startswith("memory: about 0.75 GB of ")


def test_what_can_not_fit_is_refused_with_what_would_need_less(
    make_job: MakeJob, tiny_model: Callable[..., Any]
) -> None:
    forecast = forecast_memory(sizes_of(tiny_model("llama")), make_job(), 1, **FORECAST)
    refuse_too_large(forecast)
    tight = forecast._replace(available=forecast.lasting + 1000)
    refuse_too_large(tight)
    assert tight.line().endswith("it may not fit: lower recipe.micro_batch, or set execution.gradient_checkpointing")
    with pytest.raises(PreflightError, match=r"need 0\.0 GB in each process, and the CPU has 0\.0 GB"):
        refuse_too_large(forecast._replace(available=forecast.lasting - 1))


_QWEN3 = {"head_dim": 128, "num_key_value_heads": 8, "vocab_size": 151_936, "tie_word_embeddings": True}
_SMALL = {"hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 16}
_LARGE = {"hidden_size": 2560, "intermediate_size": 9728, "num_hidden_layers": 36, "num_attention_heads": 32}


@pytest.mark.parametrize(
    ("sizes", "method", "row_tokens", "is_saving", "measured_gb"),
    [
        (_SMALL, "full", 8192, False, 22.0),
        (_LARGE, "lora", 16_384, False, 76.1),
        (_LARGE, "lora", 16_384, True, 15.2),
    ],
)
def test_on_a_gpu_it_is_within_a_quarter_of_what_was_measured_on_one(
    monkeypatch: pytest.MonkeyPatch,
    sizes: dict[str, int],
    method: str,
    row_tokens: int,
    is_saving: bool,
    measured_gb: float,
) -> None:
    """The peaks are those of `benchmarks/training.py --device cuda` on an H200."""
    monkeypatch.setattr(_memory, "available_bytes", lambda _: 141 * 10**9)
    with torch.device("meta"), quiet():
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model("qwen3", **_QWEN3, **sizes))
        if method == "lora":
            model = get_peft_model(model, LoraConfig(r=64, target_modules="all-linear", task_type="CAUSAL_LM"))
    recipe = {"method": method, "row_tokens": row_tokens, "rows_per_update": 1, "min_updates": 1}
    job = TrainJob.model_validate(
        {
            "stage": "midtrain",
            "parent": "-",
            "data": ["-"],
            "recipe": recipe,
            "execution": {"gradient_checkpointing": is_saving},
        }
    )
    place = {"row_width": row_tokens, "dtype": torch.bfloat16, "device": torch.device("cuda")}
    forecast = forecast_memory(sizes_of(model), job, 1, **place)
    assert forecast.total / 1e9 == pytest.approx(measured_gb, rel=0.25)


# Narrow layers with a wide inside: much to keep for little to compute.
SHAPE = {"hidden_size": 128, "intermediate_size": 1024, "num_hidden_layers": 8, "num_attention_heads": 4}
RUN = """
import json, sys
from pathlib import Path
import midspec.train._loop
from midspec.train import TrainJob, train
from midspec.train._memory import Usage
import torch
job, folder = TrainJob.model_validate_json(sys.argv[1]), Path(sys.argv[2])
before = Usage(torch.device("cpu")).peak()
built = train(job, folder, device="cpu")
print(json.dumps({"before": before / 1e9} | built.execution))
"""


def measured(job: TrainJob, folder: Path) -> dict[str, Any]:
    """Train in a process of its own; gives its record's figures, and what it took before."""
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", RUN, job.model_dump_json(exclude_none=True), str(folder)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    ("architecture", "recipe", "execution"),
    [
        ({}, {"row_tokens": 512, "rows_per_update": 8}, {}),
        ({}, {"row_tokens": 1024, "rows_per_update": 4, "micro_batch": 2}, {}),
        ({}, {"row_tokens": 512, "rows_per_update": 8}, {"gradient_checkpointing": True}),
        ({"vocab_size": 60_000}, {"row_tokens": 256, "rows_per_update": 4, "micro_batch": 1}, {}),
    ],
    ids=["many rows", "long rows", "checkpointing", "large vocabulary"],
)
def test_the_forecast_is_within_half_of_what_a_training_used(
    make_job: MakeJob,
    tmp_path: Path,
    architecture: dict[str, Any],
    recipe: dict[str, Any],
    execution: dict[str, Any],
) -> None:
    rows = tmp_path / "rows.jsonl"
    text = " ".join(f"w{number % 40}" for number in range(recipe["row_tokens"] - 1))
    rows.write_text((json.dumps({"text": text}) + "\n") * 2 * recipe["rows_per_update"], encoding="utf-8")
    job = make_job(recipe=recipe | {"n_updates": 2}, execution=execution, data=[str(rows)])
    job = job.model_copy(update={"architecture": {**(job.architecture or {}), **SHAPE, **architecture}})
    figures = measured(job, tmp_path / "out")
    grown, forecast = (figures[f"memory_gb_{name}"] - figures["before"] for name in ("peak", "forecast"))
    assert 0.5 * grown <= forecast <= 1.5 * grown, figures
