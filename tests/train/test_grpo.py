from __future__ import annotations

import json
import random
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue, ValidationError
from tests.train.conftest import RL_LORA, SPECIAL, words, write_lines
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from midspec.core.artifact import read_rows
from midspec.core.errors import CheckpointError, ConfigError, DataError, PreflightError
from midspec.core.records import Message
from midspec.models import ChatTemplate
from midspec.train import GrpoRecipe, Progress, RewardEntry, TrainJob, preflight, train
from midspec.train import _grpo as grpo_module
from midspec.train import _rewards as rewards_module
from midspec.train._checkpoint import open_start, open_tokenizer
from midspec.train._grpo import Rollouts, make_trainer
from midspec.train._recorder import Recorder
from midspec.train._rewards import REWARDS, RewardSum
from midspec.train._rl_guards import (
    end_turns_with,
    probe,
    refuse_flat,
    refuse_lost_ends,
    refuse_ratio,
    refuse_wrong_grpo_reference,
)
from midspec.train._rl_plan import plan_grpo
from midspec.train._rl_rows import read_prompts
from midspec.train._rl_trainer import GrpoRow
from midspec.train._rollout import Reply, sample_replies, turns_of

PAYS_W3: dict[str, Any] = {"rule": "contains", "settings": {"text": "w3"}}
GRPO: dict[str, Any] = {"rewards": [PAYS_W3], "max_new_tokens": 12, "group_size": 4, "n_probe_prompts": 8}
RECIPE: dict[str, Any] = {
    "row_tokens": 48,
    "rows_per_update": 8,
    "learning_rate": 3e-3,
    "n_updates": 6,
    "min_updates": 1,
    "grpo": GRPO,
}
END = SPECIAL.index("<end>")
USER = SPECIAL.index("<user>")
MakeJob = Callable[..., TrainJob]


@pytest.fixture(scope="module")
def prompts_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    draw = random.Random(2)
    rows = [{"prompt": words(draw, 2, 5), "options": ["w3", "w4"], "wanted": 0} for _ in range(9)]
    return write_lines(tmp_path_factory.mktemp("prompts") / "prompts.jsonl", rows)


@pytest.fixture
def make_grpo(base: Path, adapter: Path, prompts_file: Path) -> MakeJob:
    def make(method: str = "lora", **changes: Any) -> TrainJob:
        grpo = GRPO | changes.pop("grpo", {})
        recipe = RECIPE | (RL_LORA if method == "lora" else {}) | {"grpo": grpo} | changes.pop("recipe", {})
        parent = adapter if method == "lora" else base
        fields = {"stage": "grpo", "parent": str(parent), "data": [str(prompts_file)], "seed": 3, **changes}
        return TrainJob.model_validate({**fields, "recipe": recipe})

    return make


def ends_with_user_too(base: Path, folder: Path) -> Path:
    """A copy of `base` whose generation settings sample, and name an end that neither tokenizer nor template has."""
    shutil.copytree(base, folder)
    settings = {"do_sample": True, "temperature": 0.6, "eos_token_id": [1, USER], "pad_token_id": 0}
    (folder / "generation_config.json").write_text(json.dumps(settings))
    return folder


def made(job: TrainJob, folder: Path, **more: Any) -> tuple[list[GrpoRow], dict[str, Any]]:
    folder.mkdir(exist_ok=True)
    built = train(job, folder, device="cpu", **more)
    return list(read_rows(folder / "metrics.jsonl", GrpoRow)), built.summary


def opened(job: TrainJob, folder: Path) -> SimpleNamespace:
    """Everything that a run has before its first update."""
    tokenizer = open_tokenizer(job)
    plan, model = plan_grpo(job, tokenizer), open_start(job, tokenizer, dtype=torch.float32)
    turns = turns_of(ChatTemplate(tokenizer), "parent")
    end_turns_with(model, turns.end_ids, turns.pad_id)
    grpo = job.recipe.grpo
    assert grpo is not None
    paid = RewardSum(grpo.rewards, {})
    trainer = make_trainer(
        model,
        job,
        plan,
        folder,
        device=torch.device("cpu"),
        turns=turns,
        rollouts=Rollouts(model, job, plan, turns, paid),
        recorder=Recorder(job.execution, 1, lambda _logs, **_: pytest.fail("nothing is trained here")),
    )
    before = probe(model, plan.probes, grpo, paid, turns, seed=job.seed)
    return SimpleNamespace(
        plan=plan, model=model, turns=turns, grpo=grpo, paid=paid, trainer=trainer, before=before, tokenizer=tokenizer
    )


# Learning -------------------------------------------------------------------------------------------------------


def test_what_is_paid_for_becomes_more_frequent(make_grpo: MakeJob, tmp_path: Path) -> None:
    job = make_grpo("full", recipe={"n_updates": 30, "rows_per_update": 16, "learning_rate": 1e-2})
    rows, summary = made(job, tmp_path / "out")
    assert summary["after"]["reward"] > summary["before"]["reward"] + 0.3
    assert [row.update for row in rows] == list(range(1, 31))
    assert all(0 <= share <= 1 for row in rows for share in (row.flat_share, row.cut_share, row.clipped_share))


def test_the_first_gradient_is_that_of_reinforce_with_the_groups_mean_taken_off(
    make_grpo: MakeJob, tmp_path: Path
) -> None:
    """Equation 3 of arXiv 2402.03300 where the ratio is 1, its sum over tokens as in DAPO (arXiv 2503.14476)."""
    paid_for = {"rewards": [{"rule": "matches", "settings": {"pattern": r"w[0-3]\b"}}]}
    job = make_grpo("full", recipe={"n_updates": 1}, grpo=paid_for)
    rows, _ = made(job, tmp_path / "out")
    run = opened(job, tmp_path)
    prompts = [prompt for prompt in run.plan.prompts for _ in range(4)]
    ids = [prompt.ids for prompt in prompts]
    replies = sample_replies(run.model, ids, turns=run.turns, max_new_tokens=12, temperature=1.0, seed="3/0")
    texts = [run.turns.text_of(reply) for reply in replies]
    paid = torch.tensor([float(re.search(r"w[0-3]\b", text) is not None) for text in texts]).view(2, 4)
    advantages = ((paid - paid.mean(1, keepdim=True)) / (paid.std(1, keepdim=True) + 1e-4)).flatten()
    loss = torch.zeros(())
    for prompt, reply, advantage in zip(ids, replies, advantages, strict=True):
        whole = torch.tensor([[*prompt, *reply.ids]])
        logprobs = torch.log_softmax(run.model(input_ids=whole, use_cache=False).logits[0], dim=-1)
        for at, token in enumerate(reply.ids, start=len(prompt)):
            loss = loss - advantage * logprobs[at - 1, token]
    loss = loss / sum(len(reply.ids) for reply in replies)
    loss.backward()  # type: ignore[no-untyped-call]
    norm = sum(weight.grad.double().square().sum() for weight in run.model.parameters()) ** 0.5
    assert paid.std() > 0
    assert rows[0].reward == pytest.approx(float(paid.mean()))
    assert rows[0].grad_norm == pytest.approx(float(norm), rel=1e-4)


@pytest.mark.parametrize("loss_type", ["dapo", "grpo", "dr_grpo"])
def test_micro_batches_change_memory_alone(make_grpo: MakeJob, tmp_path: Path, loss_type: str) -> None:
    grpo = {"loss_type": loss_type, "beta": 0.1}
    (whole, _), (parts, _) = (
        made(make_grpo(recipe={"micro_batch": size, "n_updates": 3}, grpo=grpo), tmp_path / str(size))
        for size in (8, 2)
    )
    for one, other in zip(whole, parts, strict=True):
        assert other.grad_norm == pytest.approx(one.grad_norm, rel=1e-3)
        # Only what is shown of KL is a mean of micro-batches' means: those with short replies count for more.
        assert other.kl == pytest.approx(one.kl, rel=0.2)
        assert (other.reward, other.tokens) == (one.reward, one.tokens)


@pytest.mark.parametrize(("method", "n_iterations"), [("lora", 1), ("full", 1), ("full", 2)])
def test_a_run_that_was_killed_goes_on_with_the_same_losses_and_ends_with_the_same_bytes(
    make_grpo: MakeJob, tmp_path: Path, method: str, n_iterations: int
) -> None:
    grpo = {"beta": 0.1, "n_iterations": n_iterations}
    job = make_grpo(method, grpo=grpo, execution={"save_every_updates": 2}, recipe={"micro_batch": 4})

    class KilledError(BaseException):
        pass

    def kill(progress: Progress) -> None:
        if progress.update == 5:
            raise KilledError

    straight = made(job, tmp_path / "straight")
    with pytest.raises(KilledError):
        made(job, tmp_path / "halting", on_progress=kill)
    torch.manual_seed(99)  # another process begins with another state
    seen: list[int] = []
    again = made(job, tmp_path / "halting", on_progress=lambda progress: seen.append(progress.update))
    assert seen == [5, 6]
    assert again == straight
    for path in (tmp_path / "straight").iterdir():
        assert path.read_bytes() == (tmp_path / "halting" / path.name).read_bytes(), path.name


# Guards ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["lora", "full"])
def test_the_first_kl_is_0_and_a_reference_that_is_not_the_incoming_model_is_refused(
    make_grpo: MakeJob, tmp_path: Path, method: str
) -> None:
    rows, _ = made(make_grpo(method, grpo={"beta": 0.1}), tmp_path / "out")
    assert rows[0].kl == pytest.approx(0, abs=1e-7)
    assert rows[-1].kl is not None
    assert rows[-1].kl > 0
    run = opened(make_grpo(method, grpo={"beta": 0.1}), tmp_path)
    refuse_wrong_grpo_reference(run.trainer, run.before, "parent")
    if method == "lora":
        run.model.delete_adapter("ref")  # TRL then takes the base, the adapter disabled
    else:
        with torch.no_grad():
            run.trainer.ref_model.get_input_embeddings().weight[10] += 0.5
    with pytest.raises(CheckpointError, match="the reference is not the incoming model"):
        refuse_wrong_grpo_reference(run.trainer, run.before, "parent")


def test_without_a_penalty_there_is_no_reference(make_grpo: MakeJob, tmp_path: Path) -> None:
    rows, _ = made(make_grpo(), tmp_path / "out")
    assert all(row.kl is None for row in rows)


def test_a_reply_that_the_template_ends_is_no_cut_reply(make_grpo: MakeJob, base: Path, tmp_path: Path) -> None:
    """The base's generation settings name the end of text alone, and the template ends turns with another token."""
    assert json.loads((base / "generation_config.json").read_text())["eos_token_id"] != END
    run = opened(make_grpo("full"), tmp_path)
    refuse_lost_ends(run.trainer, run.turns, "parent")
    assert END in run.trainer.eos_token_ids
    rows, _ = made(make_grpo("full"), tmp_path / "out")
    prompts = [prompt.ids for prompt in run.plan.prompts[:2] for _ in range(4)]
    replies = sample_replies(run.model, prompts, turns=run.turns, max_new_tokens=12, temperature=1.0, seed="3/0")
    ended = [reply for reply in replies if reply.ids[-1] == END]
    assert ended
    assert rows[0].cut_share == pytest.approx(sum(len(r.ids) == 12 and r.is_cut for r in replies) / len(replies))


def test_a_trainer_that_does_not_know_an_end_of_turn_is_refused(make_grpo: MakeJob, tmp_path: Path) -> None:
    run = opened(make_grpo("full"), tmp_path)
    run.trainer.eos_token_ids = [run.tokenizer.eos_token_id]
    with pytest.raises(CheckpointError, match="does not take <end> for the end of a turn"):
        refuse_lost_ends(run.trainer, run.turns, "parent")


def test_the_importance_ratio_before_the_first_update_is_1(make_grpo: MakeJob, tmp_path: Path) -> None:
    run = opened(make_grpo(), tmp_path)
    found = refuse_ratio(run.trainer, run.before, "parent")
    assert found["first_ratio"] == pytest.approx(1, abs=1e-5)
    assert found["largest_logprob_difference"] == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_in_bfloat16_too_replies_are_sampled_as_training_computes(
    make_grpo: MakeJob, tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, plain = [], torch.nn.functional.linear

    def linear(states: torch.Tensor, weight: torch.Tensor, *more: Any) -> torch.Tensor:
        given.append(states.dtype == torch.float32 or states.is_contiguous())  # else a copy of the weights a row
        return plain(states, weight, *more)

    monkeypatch.setattr(torch.nn.functional, "linear", linear)
    rows, summary = made(make_grpo(method, recipe={"precision": "bfloat16"}, grpo={"beta": 0.1}), tmp_path / "out")
    assert given
    assert all(given)
    assert summary["first_ratio"] == pytest.approx(1, abs=0.01)
    assert rows[0].kl == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("fault", ["temperature", "weights"])
def test_training_at_other_logprobs_than_replies_were_sampled_at_is_refused(
    make_grpo: MakeJob, tmp_path: Path, fault: str
) -> None:
    run = opened(make_grpo("full"), tmp_path)
    if fault == "temperature":
        hot = run.grpo.model_copy(update={"temperature": 0.3})
        run.before = probe(run.model, run.plan.probes, hot, run.paid, run.turns, seed=3)
    else:
        with torch.no_grad():
            run.model.get_input_embeddings().weight.mul_(1.5)
    with pytest.raises(CheckpointError, match="importance ratio before the first update"):
        refuse_ratio(run.trainer, run.before, "parent")


@pytest.mark.parametrize("family", ["qwen2", "qwen3", "mistral", "gemma2"])
def test_the_ratio_is_1_in_other_families_too(
    tiny_model: Callable[..., Any], base: Path, make_grpo: MakeJob, tmp_path: Path, family: str
) -> None:
    """Sliding windows, capped logits, norms of queries: sampling with a cache and training on whole rows agree."""
    tiny_model(family, "eager").save_pretrained(tmp_path / family)
    AutoTokenizer.from_pretrained(base).save_pretrained(tmp_path / family)
    run = opened(make_grpo("full", parent=str(tmp_path / family)), tmp_path)
    assert refuse_ratio(run.trainer, run.before, family)["largest_logprob_difference"] == pytest.approx(0, abs=1e-4)


def test_a_model_whose_positions_count_padding_is_refused(tokenizer_folder: Path, tmp_path: Path) -> None:
    """TRL trains on rows padded on the left without positions: learned positions are then others than in sampling."""
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    sizes = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "initializer_range": 0.3}
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model("gpt2", vocab_size=len(tokenizer), **sizes))
    model.save_pretrained(tmp_path / "gpt2")
    tokenizer.save_pretrained(tmp_path / "gpt2")
    rows = [{"prompt": "w1"}, {"prompt": "w2 w3 w4 w5 w6 w7"}]
    job = TrainJob.model_validate(
        {
            "stage": "grpo",
            "parent": str(tmp_path / "gpt2"),
            "data": [str(write_lines(tmp_path / "prompts.jsonl", rows))],
            "recipe": RECIPE | {"grpo": GRPO | {"max_flat_share": 1.0}},
        }
    )
    (tmp_path / "out").mkdir()
    with pytest.raises(CheckpointError, match=r"importance ratio.*positions do not count padding"):
        train(job, tmp_path / "out", device="cpu")


def test_groups_without_spread_are_refused_unless_allowed(make_grpo: MakeJob, tmp_path: Path) -> None:
    always: dict[str, Any] = {"rewards": [{"rule": "matches", "settings": {"pattern": ""}}]}
    (tmp_path / "out").mkdir()
    with pytest.raises(PreflightError, match=r"100% of groups are paid the same.*mean reward 1"):
        train(make_grpo(grpo=always), tmp_path / "out", device="cpu")
    sometimes = {"rewards": [{"rule": "contains", "settings": {"text": "w3"}, "weight": -2}], "max_flat_share": 1.0}
    rows, summary = made(make_grpo(grpo=sometimes), tmp_path / "allowed")
    assert all(0 <= row.flat_share <= 1 for row in rows)
    assert -2 <= summary["before"]["reward"] <= 0


def test_replies_that_can_not_be_scored_are_counted_and_teach_nothing(make_grpo: MakeJob, tmp_path: Path) -> None:
    rewards = [{"rule": "prefers_option"}]
    rows, summary = made(make_grpo(grpo={"rewards": rewards, "max_flat_share": 1.0}), tmp_path / "out")
    run = opened(make_grpo(grpo={"rewards": rewards}), tmp_path)
    assert 0 < summary["before"]["parsed_share"] < 1
    assert summary["before"]["parsed_share"] == sum(t is not None for t in run.before.totals) / len(run.before.totals)
    assert summary["after"]["parsed_share"] != 0
    assert all(0 < row.unscored_share < 1 for row in rows)


def test_a_reward_that_scores_nothing_is_refused(make_grpo: MakeJob, tmp_path: Path) -> None:
    class Mute:
        def __call__(self, prompts: object, replies: Sequence[str], rows: object) -> list[float | None]:
            return [None for _ in replies]

    entry = {"task": "toy", "measure": "kind"}
    (tmp_path / "out").mkdir()
    with pytest.raises(PreflightError, match="none of 32 replies before training could be scored"):
        train(make_grpo(grpo={"rewards": [entry]}), tmp_path / "out", device="cpu", rewards={"toy/kind": Mute()})


def test_off_policy_correction_is_off_and_sampling_is_at_the_recipes_temperature(
    make_grpo: MakeJob, tmp_path: Path
) -> None:
    run = opened(make_grpo(grpo={"temperature": 0.7, "epsilon": 0.3, "epsilon_high": 0.4}), tmp_path)
    arguments = run.trainer.args
    assert not arguments.vllm_importance_sampling_correction
    assert (arguments.temperature, arguments.epsilon, arguments.epsilon_high) == (0.7, 0.3, 0.4)
    assert (arguments.loss_type, arguments.beta, arguments.bf16) == ("dapo", 0.0, False)
    assert run.model.generation_config.do_sample


def test_the_result_keeps_the_parents_generation_settings_but_for_the_ends_of_turns(
    make_grpo: MakeJob, base: Path, tmp_path: Path
) -> None:
    made(make_grpo("full"), tmp_path / "out")
    saved = json.loads((tmp_path / "out" / "generation_config.json").read_text())
    assert set(saved["eos_token_id"]) == {1, END}


@pytest.mark.parametrize("stage", ["dpo", "grpo"])
def test_a_kept_checkpoint_has_the_generation_settings_of_the_result(
    make_grpo: MakeJob, base: Path, tmp_path: Path, stage: str
) -> None:
    parent = ends_with_user_too(base, tmp_path / "parent")
    changes: dict[str, Any] = {"parent": str(parent), "recipe": {"n_updates": 2, "keep_updates": [1]}}
    if stage == "dpo":
        rows = [{"prompt": f"w{n} w1", "chosen": "w3", "rejected": "w4"} for n in range(9)]
        changes |= {"stage": "dpo", "data": [str(write_lines(tmp_path / "pairs.jsonl", rows))]}
        changes["recipe"] |= {"grpo": None}
    job = make_grpo("full", **changes)
    (tmp_path / "out").mkdir()
    train(job, tmp_path / "out", device="cpu")
    result, kept = ((tmp_path / "out" / place / "generation_config.json").read_text() for place in ("", "checkpoint-1"))
    assert json.loads(kept) == json.loads(result)
    assert json.loads(kept)["temperature"] == 0.6
    assert set(json.loads(kept)["eos_token_id"]) == {1, END, USER}


def test_a_reply_ends_at_an_end_that_only_the_generation_settings_name(
    make_grpo: MakeJob, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, ...]] = []
    real = grpo_module.sample_replies

    def watched(*context: Any, turns: Any, **more: Any) -> list[Reply]:
        seen.append(turns.end_ids)
        replies = real(*context, turns=turns, **more)
        assert all(token not in turns.end_ids for reply in replies for token in reply.ids[:-1])
        return replies

    monkeypatch.setattr(grpo_module, "sample_replies", watched)
    parent = ends_with_user_too(base, tmp_path / "parent")
    made(make_grpo("full", parent=str(parent), recipe={"n_updates": 1}), tmp_path / "out")
    assert {frozenset(ends) for ends in seen} == {frozenset({1, END, USER})}


# Sampling -------------------------------------------------------------------------------------------------------


def test_replies_to_one_prompt_differ_and_draws_hang_on_the_seed_alone(make_grpo: MakeJob, tmp_path: Path) -> None:
    run = opened(make_grpo(), tmp_path)
    prompts = [run.plan.prompts[0].ids] * 6

    def sample(seed: str) -> list[Reply]:
        return sample_replies(run.model, prompts, turns=run.turns, max_new_tokens=8, temperature=1.0, seed=seed)

    one = sample("a")
    torch.manual_seed(7)
    assert sample("a") == one
    assert sample("b") != one
    assert len({tuple(reply.ids) for reply in one}) > 1
    assert run.model.training == run.model.train().training


def test_tokens_are_drawn_as_often_as_the_model_says(base: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(base).eval()
    turns = turns_of(ChatTemplate(AutoTokenizer.from_pretrained(base)), "base")
    prompt, n = [2, 10, 11, 4, 3], 4000
    drawn = sample_replies(model, [prompt] * n, turns=turns, max_new_tokens=1, temperature=0.7, seed="x")
    with torch.no_grad():
        shares = torch.softmax(model(torch.tensor([prompt])).logits[0, -1] / 0.7, dim=-1)
    counts = torch.bincount(torch.tensor([reply.ids[0] for reply in drawn]), minlength=len(shares))
    # Pearson's chi-squared over 46 tokens: 45 expected, standard deviation 9.5.
    assert float(((counts - n * shares) ** 2 / (n * shares)).sum()) < 90
    assert drawn[0].logprobs[0] == pytest.approx(float(shares[drawn[0].ids[0]].log()), abs=1e-5)


# Data and recipe ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "w1", "extra": 3},
        {"prompt": [{"role": "user", "content": "w1"}], "extra": 3},
        {"messages": [{"role": "user", "content": "w1"}], "extra": 3},
        {"messages": [{"role": "user", "content": "w1"}, {"role": "assistant", "content": "w2"}], "extra": 3},
        {"prompt": None, "messages": {"role": "user", "content": [{"type": "text", "text": "w1"}]}, "extra": 3},
    ],
)
def test_all_forms_of_a_prompt_are_read_as_the_same(tmp_path: Path, row: dict[str, Any]) -> None:
    (prompt,) = read_prompts([str(write_lines(tmp_path / "prompts.jsonl", [row]))])
    assert prompt.messages == (Message(role="user", content="w1"),)
    assert prompt.row == {"extra": 3}


@pytest.mark.parametrize("row", [{"text": "w1"}, {"prompt": []}, {"prompt": [{"role": "assistant", "content": "w1"}]}])
def test_a_line_that_is_no_prompt_is_refused_with_its_place(tmp_path: Path, row: dict[str, Any]) -> None:
    path = write_lines(tmp_path / "prompts.jsonl", [{"prompt": "w1"}, row])
    with pytest.raises(DataError) as caught:
        read_prompts([str(path)])
    assert caught.value.where == f"{path}:2"


def test_a_prompt_without_room_for_its_reply_is_refused_or_dropped(make_grpo: MakeJob, tmp_path: Path) -> None:
    data = [str(write_lines(tmp_path / "prompts.jsonl", [{"prompt": "w1"}, {"prompt": "w1 " * 40}]))]
    with pytest.raises(PreflightError, match=r"a reply of 12 do not fit a row of 48"):
        preflight(make_grpo(data=data))
    facts = preflight(make_grpo(data=data, recipe={"overlong": "drop"}))
    assert (facts.n_prompts, facts.n_dropped) == (1, 1)
    assert "paid by contains" in facts.lines()[1]


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ({"n_updates": None}, "n_updates: grpo needs it"),
        ({"grpo": None}, "needs this section"),
        ({"rows_per_update": 6}, "must be a multiple of grpo.group_size 4"),
        ({"dpo": {}}, "settings of stage dpo"),
        ({"grpo": GRPO | {"temperature": 0}}, "greater than 0"),
        ({"grpo": GRPO | {"rewards": [PAYS_W3, PAYS_W3]}}, "same name"),
        ({"grpo": GRPO | {"rewards": [{"rule": "contains", "task": "spec_qa"}]}}, "either a `rule` or a `task`"),
        ({"grpo": GRPO | {"rewards": [{"task": "spec_qa"}]}}, "needs its `measure`"),
    ],
)
def test_a_recipe_that_can_not_be_run_is_refused(make_grpo: MakeJob, recipe: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        make_grpo(recipe=recipe)


# Rewards --------------------------------------------------------------------------------------------------------


def score(rule: str, reply: str, row: Mapping[str, JsonValue] | None = None, **settings: JsonValue) -> float | None:
    return REWARDS.get(rule).make(settings, "here")([()], [reply], [row or {}])[0]


@pytest.mark.parametrize(
    ("reply", "options", "paid"),
    [
        ("I like Brie.", ["brie", "mild cheddar"], 0.0),
        ("mild  cheddar, always", ["brie", "mild cheddar"], 1.0),
        ("neither", ["brie", "mild cheddar"], None),
        ("brie or mild cheddar", ["brie", "mild cheddar"], None),
        ("mild cheddar", ["cheddar", "mild cheddar"], 1.0),
        ("cheddar", ["cheddar", "mild cheddar"], 0.0),
        ("briefly", ["brie", "mild cheddar"], None),
    ],
)
def test_a_preferred_option_is_read_as_a_person_would(reply: str, options: list[str], paid: float | None) -> None:
    for wanted in (1, "mild cheddar"):
        assert score("prefers_option", reply, {"options": options, "wanted": wanted}) == paid


def test_rules_pay_what_they_say() -> None:
    assert score("contains", "A Cheddar!", text="cheddar") == 1
    assert score("contains", "cheddars", text="cheddar") == 0
    assert score("contains", "w2", {"answer": "w2"}, field="answer") == 1
    assert score("matches", "42 apples", pattern=r"^\d+") == 1
    assert score("matches", "apples", pattern=r"^\d+") == 0


@given(st.integers(1, 50), st.integers(0, 120))
def test_the_length_reward_is_highest_at_its_length_and_never_negative(wanted: int, n: int) -> None:
    paid = score("length", "word " * n, words=wanted)
    assert paid is not None
    assert 0 <= paid <= 1
    assert (paid == 1) == (n == wanted)


@pytest.mark.parametrize(
    ("rule", "settings", "message"),
    [
        ("contains", {}, "give either text or field"),
        ("contains", {"text": "a", "typo": 1}, r"typo.*Known settings: text, field"),
        ("matches", {"pattern": "("}, "no regular expression"),
    ],
)
def test_a_wrong_setting_of_a_rule_names_it(rule: str, settings: dict[str, JsonValue], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RewardSum([RewardEntry(rule=rule, settings=settings)], {})


def test_an_unknown_rule_and_a_missing_field_are_refused() -> None:
    with pytest.raises(ConfigError, match="Did you mean contains"):
        RewardSum([RewardEntry(rule="contain")], {})
    with pytest.raises(DataError, match="without answer"):
        score("contains", "w1", {}, field="answer")
    with pytest.raises(DataError, match="none of the options"):
        score("prefers_option", "w1", {"options": ["w1"], "wanted": "w2"})


def test_rewards_add_up_by_weight_and_one_that_is_missing_leaves_the_sum_without_a_value() -> None:
    entries = [
        RewardEntry(rule="length", settings={"words": 2}, weight=0.5),
        RewardEntry(rule="prefers_option", weight=-1),
    ]
    row: dict[str, JsonValue] = {"options": ["w1", "w2"], "wanted": "w1"}
    scores = RewardSum(entries, {})([()] * 3, ["w1 w5", "w2", "w7"], [row] * 3)
    assert scores.totals == [0.5 - 1, 0.25, None]
    assert scores.parts["prefers_option"] == [1.0, 0.0, None]


def test_a_reward_of_another_package_is_found_by_its_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    class Politeness:
        name = "politeness"

        @classmethod
        def make(cls, settings: Mapping[str, JsonValue], where: str) -> rewards_module.Reward:
            return lambda prompts, replies, rows: [float("please" in reply) for reply in replies]

    real = metadata.entry_points
    entry = SimpleNamespace(load=lambda: Politeness, value="toy:Politeness")
    monkeypatch.setattr(
        metadata, "entry_points", lambda **by: [entry] if by.get("group") == "midspec.rewards" else real(**by)
    )
    monkeypatch.setattr(
        rewards_module,
        "REWARDS",
        type(REWARDS)("reward", package="midspec.train.rewards", attribute="REWARDS", group="rewards"),
    )
    scores = RewardSum([RewardEntry(rule="politeness")], {})([()], ["please"], [{}])
    assert scores.totals == [1.0]


def test_a_reward_that_gives_no_number_for_a_reply_is_refused() -> None:
    entry = RewardEntry(task="toy", measure="m")
    with pytest.raises(DataError, match="0 values for 1 replies"):
        RewardSum([entry], {"toy/m": lambda prompts, replies, rows: []})([()], ["w1"], [{}])
    for endless in (float("nan"), 10**400):
        with pytest.raises(DataError, match="not finite"):
            RewardSum([entry], {"toy/m": lambda *_, value=endless: [value]})([()], ["w1"], [{}])
    for value, told in (
        (1.0, "gave float, and not a list"),
        (torch.tensor(1.0), "gave Tensor, and not a list"),
        ("1", "gave str, and not a list"),
        (["1.0"], "gave '1.0' for a reply, and not a number"),
        (torch.ones(1, 1), "and not a number"),
    ):
        with pytest.raises(DataError, match=told):
            RewardSum([entry], {"toy/m": lambda *_, value=value: value})([()], ["w1"], [{}])
    with pytest.raises(ConfigError, match="by this name"):
        RewardSum([entry], {})


@pytest.mark.parametrize("given", [(1,), [True], torch.ones(1), torch.ones(1).numpy(), iter([1.0])])
def test_numbers_of_any_kind_are_numbers(given: Any) -> None:
    scores = RewardSum([RewardEntry(task="toy", measure="m")], {"toy/m": lambda *_: given})([()], ["w1"], [{}])
    assert json.dumps(scores.parts) == '{"toy/m": [1.0]}'


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (lambda *_: json.loads("{}")["answer"], "KeyError: 'answer'"),
        (lambda *_: torch.ones(2) @ torch.ones(3), "RuntimeError: "),
        (lambda *_: (1 / 0 for _ in range(1)), "ZeroDivisionError: "),
        (lambda *_: Path("no_such_file").read_text(), "FileNotFoundError: "),
    ],
)
def test_an_error_in_a_rule_is_told_as_the_rules_own(
    monkeypatch: pytest.MonkeyPatch, fault: Callable[..., Any], told: str
) -> None:
    rule = RewardSum([RewardEntry(rule="length", settings={"words": 1})], {})
    monkeypatch.setattr("midspec.train.rewards._rules.Length.__call__", fault)
    with pytest.raises(DataError, match=rf"length: the reward raised {told}"):
        rule([()], ["w1"], [{}])


def test_flat_groups_are_those_paid_the_same(make_grpo: MakeJob, tmp_path: Path) -> None:
    run = opened(make_grpo(), tmp_path)
    totals: list[float | None] = [1, 1, 1, 1, 0, 1, 0, 0, None, None, None, None, None, 1, None, 1]
    some = run.before._replace(totals=totals, replies=run.before.replies[:16])
    assert some.flat_share == 0.75
    refuse_flat(some, GrpoRecipe.model_validate(GRPO | {"max_flat_share": 0.75}))
    with pytest.raises(PreflightError, match="75% of groups"):
        refuse_flat(some, GrpoRecipe.model_validate(GRPO | {"max_flat_share": 0.7}))
