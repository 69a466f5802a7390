"""The pairs or prompts of every update of stages `dpo` and `grpo`, tokenized and counted before anything is trained."""

from __future__ import annotations

import json
import math
import operator
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple, TypeVar

import numpy as np
from pydantic import Field

from midspec.core.errors import CheckpointError, DataError, PreflightError
from midspec.core.records import Chat, Message, Strict
from midspec.models import ChatTemplate, check_prompt, find_checkpoint
from midspec.train._job import TrainJob
from midspec.train._pack import Piece
from midspec.train._rl_recipe import GrpoRecipe
from midspec.train._rl_rows import Pair, Prompt, read_pairs, read_prompts
from midspec.train._rows import Row, named_twice, notes_of, warnings_of

_EXAMPLE_CHARS = 300
T = TypeVar("T")


class PairIds(NamedTuple):
    """A pair as token ids: the prompt with the generation prompt, and each reply with the end of its turn."""

    prompt: list[int]
    chosen: list[int]
    rejected: list[int]


class PromptIds(NamedTuple):
    """A prompt as token ids, the generation prompt included, and where it was read from."""

    ids: list[int]
    source: Prompt


class DpoPreflight(Strict):
    """What a stage of preference pairs will do.

    Tokens are of all updates. `n_dropped` and `n_cut` pairs were longer than `row_tokens`; `n_passes` is how often
    each pair is used. The mean lengths, in tokens, tell whether length alone could be what is learnt.
    """

    stage: str
    n_pairs: int
    n_cut: int
    n_dropped: int
    n_passes: float
    real_tokens: int
    supervised_tokens: int
    mean_chosen_tokens: float
    mean_rejected_tokens: float
    longest_tokens: int
    n_updates: int
    warmup_updates: int
    rows_per_update: int
    floor: int
    floor_lowered: bool
    example: str
    notes: tuple[str, ...] = Field(default=(), exclude_if=operator.not_)
    warnings: tuple[str, ...] = Field(default=(), exclude_if=operator.not_)

    @property
    def row_width(self) -> int:
        """The tokens of a row, padded."""
        return self.longest_tokens

    def lines(self) -> list[str]:
        """Show it for a person to read, one fact a line."""
        floor = f"floor {self.floor:,}{' (lowered)' if self.floor_lowered else ''}"
        passes = f"{self.n_passes:.2f} passes, warm-up {self.warmup_updates:,}; {floor}"
        means = f"{self.mean_chosen_tokens:.1f} chosen, {self.mean_rejected_tokens:.1f} rejected"
        return [
            f"{self.stage}: {self.n_pairs:,} pairs ({self.n_cut:,} cut, {self.n_dropped:,} dropped)",
            f"tokens: {self.real_tokens:,} real, {self.supervised_tokens:,} in replies; a reply has {means}",
            f"updates: {self.n_updates:,} of {self.rows_per_update} pairs, {passes}",
            *_said(self),
            f"example: {self.example}",
        ]


class GrpoPreflight(Strict):
    """What a stage of rewarded replies will do: `n_passes` is how often each prompt is used."""

    stage: str
    n_prompts: int
    n_dropped: int
    n_passes: float
    mean_prompt_tokens: float
    longest_tokens: int
    group_size: int
    max_new_tokens: int
    n_replies: int
    rewards: tuple[str, ...]
    n_updates: int
    warmup_updates: int
    rows_per_update: int
    floor: int
    floor_lowered: bool
    example: str
    notes: tuple[str, ...] = Field(default=(), exclude_if=operator.not_)
    warnings: tuple[str, ...] = Field(default=(), exclude_if=operator.not_)

    @property
    def row_width(self) -> int:
        """The tokens of a row, padded."""
        return self.longest_tokens

    def lines(self) -> list[str]:
        """Show it for a person to read, one fact a line."""
        floor = f"floor {self.floor:,}{' (lowered)' if self.floor_lowered else ''}"
        replies = f"{self.group_size} replies a prompt of at most {self.max_new_tokens:,} tokens"
        return [
            f"{self.stage}: {self.n_prompts:,} prompts ({self.n_dropped:,} dropped), {self.n_passes:.2f} passes",
            f"replies: {self.n_replies:,} in all, {replies}; paid by {', '.join(self.rewards)}",
            f"updates: {self.n_updates:,} of {self.rows_per_update} replies, warm-up {self.warmup_updates:,}; {floor}",
            *_said(self),
            f"example: {self.example}",
        ]


def _said(facts: DpoPreflight | GrpoPreflight) -> list[str]:
    warnings, notes = (f"warning: {one}" for one in facts.warnings), (f"note: {one}" for one in facts.notes)
    return [*warnings, *notes]


class DpoPlan(NamedTuple):
    """The pairs of all updates in order, and what was counted."""

    pairs: list[PairIds]
    preflight: DpoPreflight

    def pieces(self) -> list[Piece]:
        """Return all that the model is given."""
        return [_piece(pair.prompt + reply) for pair in self.pairs for reply in (pair.chosen, pair.rejected)]

    @property
    def longest_tokens(self) -> int:
        """The tokens of the longest prompt with its reply."""
        return self.preflight.longest_tokens


class GrpoPlan(NamedTuple):
    """The prompts of all samplings in order, those that are answered before and after, and what was counted."""

    prompts: list[PromptIds]
    probes: list[PromptIds]
    preflight: GrpoPreflight

    def pieces(self) -> list[Piece]:
        """Return all that the model is given, before it writes."""
        return [_piece(prompt.ids) for prompt in self.prompts]

    @property
    def longest_tokens(self) -> int:
        """The tokens of the longest prompt with the longest reply."""
        return self.preflight.longest_tokens


def _piece(ids: list[int]) -> Piece:
    return Piece(np.array(ids, dtype=np.int32), np.zeros(len(ids), dtype=np.bool_))


def plan_dpo(job: TrainJob, tokenizer: Any) -> DpoPlan:
    """Read, tokenize and count pairs; each pass goes through all of them in an order of its own.

    Raises:
        MissingError, DataError, CheckpointError: the data or the tokenizer can't be used.
        PreflightError: a pair is longer than a row and `overlong` is "refuse", or updates are fewer than the floor.
    """
    recipe = job.recipe
    template = ChatTemplate(tokenizer, recipe.template_args, control_tokens=recipe.control_tokens)
    check_prompt(str(tokenizer.name_or_path), template.render_turns)
    _refuse_biases(job)
    pairs = read_pairs(job.data)
    kept: list[tuple[Pair, PairIds]] = []
    n_cut = n_dropped = 0
    for pair in pairs:
        ids = _tokenize_pair(template, pair)
        length = len(ids.prompt) + max(len(ids.chosen), len(ids.rejected))
        if length > recipe.row_tokens:
            room = recipe.row_tokens - len(ids.prompt)
            if recipe.overlong == "refuse":
                _refuse_long(f"a pair of {length} tokens does not fit a row of {recipe.row_tokens}", pair.where)
            # Cut replies that are the same, or empty, prefer nothing.
            if recipe.overlong == "drop" or room < 1 or ids.chosen[:room] == ids.rejected[:room]:
                n_dropped += 1
                continue
            n_cut += 1
            ids = PairIds(ids.prompt, ids.chosen[:room], ids.rejected[:room])
        kept.append((pair, ids))
    n_updates = _n_updates(job, len(kept))
    used = _in_passes([ids for _, ids in kept], n_updates * recipe.rows_per_update, job.seed)
    first = next(pair for pair, ids in kept if ids is used[0])
    rows = [Row(Chat(messages=(*pair.prompt, pair.chosen, pair.rejected)), pair.where, pair.unread) for pair in pairs]
    return DpoPlan(
        used,
        DpoPreflight(
            n_pairs=len(kept),
            n_cut=n_cut,
            n_dropped=n_dropped,
            n_passes=len(used) / len(kept),
            real_tokens=sum(2 * len(ids.prompt) + len(ids.chosen) + len(ids.rejected) for ids in used),
            supervised_tokens=sum(len(ids.chosen) + len(ids.rejected) for ids in used),
            mean_chosen_tokens=round(fmean(len(ids.chosen) for ids in used), 3),
            mean_rejected_tokens=round(fmean(len(ids.rejected) for ids in used), 3),
            longest_tokens=max(len(ids.prompt) + max(len(ids.chosen), len(ids.rejected)) for ids in used),
            example=" ".join(
                (
                    f"{_short(first.prompt[-1].content)} ▸",
                    f"«{_short(first.chosen.content)}» not «{_short(first.rejected.content)}»",
                )
            ),
            **_told(job, template, rows),
            **_geometry(job, n_updates),
        ),
    )


def plan_grpo(job: TrainJob, tokenizer: Any) -> GrpoPlan:
    """Read, tokenize and count prompts; each pass goes through all of them in an order of its own.

    Raises:
        MissingError, DataError, CheckpointError: the data or the tokenizer can't be used.
        PreflightError: a prompt and its reply are longer than a row and `overlong` is not "drop", or updates are fewer
            than the floor.
    """
    recipe, grpo = job.recipe, grpo_of(job)
    template = ChatTemplate(tokenizer, recipe.template_args, control_tokens=recipe.control_tokens)
    check_prompt(str(tokenizer.name_or_path), template.render_turns)
    if grpo.beta > 0:  # else there is no reference
        _refuse_biases(job)
    prompts = read_prompts(job.data)
    kept, n_dropped = [], 0
    for prompt in prompts:
        ids = _tokenize_prompt(template, prompt.messages, prompt.where)
        if (length := len(ids) + grpo.max_new_tokens) > recipe.row_tokens:
            if recipe.overlong != "drop":
                what = f"a prompt of {len(ids)} tokens and a reply of {grpo.max_new_tokens} do not fit a row of"
                _refuse_long(f"{what} {recipe.row_tokens} ({length})", prompt.where)
            n_dropped += 1
            continue
        kept.append(PromptIds(ids, prompt))
    n_updates = _n_updates(job, len(kept))
    n_samplings = math.ceil(n_updates / grpo.n_iterations)
    used = _in_passes(kept, n_samplings * recipe.rows_per_update // grpo.group_size, job.seed)
    rows = [Row(Chat(messages=prompt.messages), prompt.where, prompt.unread) for prompt in prompts]
    probes = random.Random(f"{job.seed}/probes").sample(kept, min(grpo.n_probe_prompts, len(kept)))
    return GrpoPlan(
        used,
        probes,
        GrpoPreflight(
            n_prompts=len(kept),
            n_dropped=n_dropped,
            n_passes=len(used) / len(kept),
            mean_prompt_tokens=round(fmean(len(prompt.ids) for prompt in used), 3),
            longest_tokens=max(len(prompt.ids) for prompt in used) + grpo.max_new_tokens,
            group_size=grpo.group_size,
            max_new_tokens=grpo.max_new_tokens,
            n_replies=len(used) * grpo.group_size,
            rewards=tuple(reward.name for reward in grpo.rewards),
            example=_short(template.render(used[0].source.messages, add_generation_prompt=True)),
            **_told(job, template, rows),
            **_geometry(job, n_updates),
        ),
    )


def grpo_of(job: TrainJob) -> GrpoRecipe:
    """Return the recipe's section for stage grpo, which `TrainJob` has made sure of."""
    assert job.recipe.grpo is not None
    return job.recipe.grpo


def _n_updates(job: TrainJob, n_rows: int) -> int:
    where = f"{job.stage} on {', '.join(job.data)}"
    if not n_rows:
        raise PreflightError("every row was dropped as too long", where=where, hint="Raise recipe.row_tokens")
    n_updates = job.recipe.n_updates or 0
    if n_updates < job.floor:
        raise PreflightError(
            f"{n_updates} updates are under the floor of {job.floor}: so few have been seen to teach nothing",
            where=where,
            hint="Raise recipe.n_updates, or set recipe.min_updates",
        )
    return n_updates


def _told(job: TrainJob, template: ChatTemplate, rows: Sequence[Row]) -> dict[str, tuple[str, ...]]:
    """Return what both preflights tell of their rows and of the template, as fine-tuning's does."""
    warnings = (*warnings_of(template, rows), *named_twice(job.data))
    return {"notes": tuple(notes_of(rows, template)), "warnings": warnings}


def _refuse_biases(job: TrainJob) -> None:
    """Refuse a parent's adapter that no second one can be put beside, as the reference that stays as it is.

    Raises:
        CheckpointError: it trains biases, of which PEFT takes one adapter alone.
    """
    found = find_checkpoint(job.parent or "")
    if found.adapter is None:
        return
    settings = json.loads((Path(found.adapter) / "adapter_config.json").read_text(encoding="utf-8"))
    if (bias := settings.get("bias") or "none") != "none":
        raise CheckpointError(
            f"the parent's adapter has biases (bias: {bias}), and PEFT puts no reference beside such a one",
            where=found.adapter,
            hint="Merge it into its base (midspec export-model --format merged), and train on from that",
        )


def _geometry(job: TrainJob, n_updates: int) -> dict[str, Any]:
    """Return the fields that both preflights share."""
    n_warmup = job.recipe.warmup_updates
    n_warmup = round(job.recipe.warmup_fraction * n_updates) if n_warmup is None else n_warmup
    return {
        "stage": job.stage,
        "n_updates": n_updates,
        "warmup_updates": min(n_warmup, n_updates - 1),
        "rows_per_update": job.recipe.rows_per_update,
        "floor": job.floor,
        "floor_lowered": job.floor < job.default_floor,
    }


def _in_passes(rows: Sequence[T], n_wanted: int, seed: int) -> list[T]:
    """Take `n_wanted` rows: all of them in a shuffled order, then all in another, and so on."""

    def endless() -> Iterator[T]:
        number = 0
        while True:
            order = list(rows)
            random.Random(f"{seed}/{number}").shuffle(order)
            yield from order
            number += 1

    source = endless()
    return [next(source) for _ in range(n_wanted)]


def _tokenize_pair(template: ChatTemplate, pair: Pair) -> PairIds:
    try:
        answers = [template.answer((*pair.prompt, one), tools=pair.tools) for one in (pair.chosen, pair.rejected)]
    except DataError as error:
        raise DataError(error.what, where=pair.where, hint=error.hint) from error
    chosen, rejected = template.encode_answers(answers)
    prompt = chosen.ids[: chosen.n_prompt]
    if prompt != rejected.ids[: rejected.n_prompt]:
        raise DataError(
            "the chat template gives the two replies different prompts (one of them reasons, say)",
            where=pair.where,
            hint="Give both replies the same form, or remove that line",
        )
    ids = PairIds(prompt, chosen.ids[chosen.n_prompt :], rejected.ids[rejected.n_prompt :])
    if ids.chosen == ids.rejected:
        raise DataError(
            "chosen and rejected are the same tokens once the chat template has written them",
            where=pair.where,
            hint="Fix or remove that line",
        )
    return ids


def _tokenize_prompt(template: ChatTemplate, messages: Sequence[Message], where: str) -> list[int]:
    try:
        text = template.render(messages, add_generation_prompt=True)
    except DataError as error:
        raise DataError(error.what, where=where, hint=error.hint) from error
    return template.encode([text])[0][0]


def _refuse_long(what: str, where: str) -> None:
    raise PreflightError(what, where=where, hint="Raise recipe.row_tokens, or set recipe.overlong to drop")


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= _EXAMPLE_CHARS else f"{flat[:_EXAMPLE_CHARS]} …"
