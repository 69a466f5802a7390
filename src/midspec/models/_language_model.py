"""A loaded model: it scores options and generates, in batches whose padding changes no result.

Sequences are padded on the left, masked, and given their own positions, so that a result does not hang on what
else is in the batch (beyond float noise), and so that only the last positions need logits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, final

import torch
from pydantic import JsonValue

from midspec.core.errors import CheckpointError, DataError, one_line
from midspec.core.records import Checkpoint, Message
from midspec.models._answers import opens_reasoning
from midspec.models._cache import NO_PREFIX, Prefix, common_length, compute_prefix
from midspec.models._chat import ChatTemplate
from midspec.models._generation import cache_argument, continue_batch
from midspec.models._open import (
    lacks_memory,
    load_model,
    pick_device,
    refuse_uncomputed,
    tokenizer_of,
    use_threads,
)
from midspec.models._precision import (
    fold_rows_for_logits,
    hidden_size_of,
    pick_dtype,
    rope_switch_in,
    window_in,
)
from midspec.models._results import Generation, OptionScore, PromptTooLongError
from midspec.models._scoring import (
    Batch,
    OptionIds,
    Row,
    computes_branches,
    computes_padded,
    make_rows,
    near_ties,
    pad,
    pad_branches,
    sum_logprobs,
)
from midspec.models._tokens import first_character
from midspec.models._turn_ends import TurnEnding, generation_ends, read_turn

_CPU_BATCH, _GPU_BATCH = 4096, 65536  # tokens with padding
_MAX_BATCH = 128
# Fewer tokens are not worth a second, shorter pass; in larger models, which spend less on the pass itself, fewer still.
_LARGE_HIDDEN = 512
_WORTH_TOKENS, _WORTH_TOKENS_LARGE = 64, 16
# A batch that is being continued reads all weights for each token: larger models want more rows.
_CPU_CONTINUED_LARGE = 16384
_LOGITS_AT_ONCE = 64 * 2**20


@final
@dataclass(frozen=True)
class LanguageModel:
    """A loaded checkpoint with its tokenizer. Make one with `open_checkpoint`.

    `exact` gives the same model in float32, where `model` computes in bfloat16 and close scores are to be asked again.
    """

    model: Any
    tokenizer: Any
    device: torch.device
    template: ChatTemplate
    exact: Callable[[], Any] | None = None

    def option_logprobs(self, prompts: Sequence[Sequence[Message]], options: Sequence[str]) -> list[OptionScore]:
        """Score how likely each option is as the assistant's turn after its prompt, without the end of the turn.

        Args:
            prompts: the messages before the turn, one sequence for each option.
            options: the texts to score.

        Raises:
            DataError: the lists differ in length, an option is empty, or the template can't be followed.
            CheckpointError: a text uses a token that the model has no embedding for.
            PromptTooLongError: prompts with their options don't fit the model's window; nothing was computed.
        """
        if len(prompts) != len(options):
            raise DataError(f"{len(prompts)} prompts for {len(options)} options", hint="Give one prompt an option")
        entries = self._option_ids(prompts, options)
        self._check_window([len(ids) for ids, _ in entries])
        scores = self._score(self.model, entries)
        if self.exact is not None and (near := near_ties([tuple(prompt) for prompt in prompts], scores)):
            again = self._score(self.exact(), [entries[number] for number in near])
            for number, score in zip(near, again, strict=True):
                scores[number] = score
        return scores

    def _score(self, model: Any, entries: Sequence[OptionIds]) -> list[OptionScore]:
        self._check_embedded([ids for ids, _ in entries])
        # Small models keep the bytes of their scores, for which the shape of a batch matters in the last digit.
        may_branch = self._is_large and self._rope_switch is None
        rows = make_rows(entries, worth_tokens=self._worth_tokens if may_branch else None)
        if any(len(row.branches) > 1 for row in rows) and not computes_branches(model, self.device):
            rows = make_rows(entries, worth_tokens=None)
        sequences = [row.ids for row in rows]
        lengths = [len(ids) for ids in sequences]
        prefix = self._prefix(model, sequences, [row.n_kept for row in rows], longest=max(lengths, default=0))
        results: dict[int, OptionScore] = {}
        for numbers in _batches(lengths, self._batch_tokens, prefix, [self._side(length) for length in lengths]):
            members = [rows[number] for number in numbers]
            for part in self._few_logits(members):
                results |= sum_logprobs(model, part, entries, self._pad_rows(part, prefix), prefix)
        return [results[number] for number in range(len(entries))]

    def document_logprobs(self, texts: Sequence[str], *, row_tokens: int = 1024) -> list[OptionScore]:
        """Score texts as midtraining reads them: no template, the end-of-text token behind.

        The first token of a row is given, and not scored.

        Args:
            texts: documents.
            row_tokens: a longer text is cut into rows of so many tokens, or of the model's window.

        Raises:
            DataError: a text is empty.
        """
        limit = min(row_tokens, self.window or row_tokens)
        encoded = self.template.control.encode_documents(list(texts)) if texts else []
        pieces: list[tuple[int, OptionIds]] = []
        for number, ids in enumerate(encoded):
            end = self.tokenizer.eos_token_id
            whole = ids if end is None or (ids and ids[-1] == end) else [*ids, end]
            if len(whole) < 2:
                raise DataError("an empty document can't be scored", hint="Remove it")
            parts = [whole[at : at + limit] for at in range(0, len(whole), limit)]
            pieces += [(number, OptionIds(part, len(part) - 1)) for part in parts if len(part) > 1]
        totals = [OptionScore(0.0, 0)] * len(encoded)
        for (number, _), score in zip(pieces, self._score(self.model, [piece for _, piece in pieces]), strict=True):
            before = totals[number]
            totals[number] = OptionScore(before.logprob + score.logprob, before.n_tokens + score.n_tokens)
        return totals

    def continuation_logprobs(self, starts: Sequence[str], ends: Sequence[str]) -> list[OptionScore]:
        """Score how likely each text goes on in a plain document, a space after its start; no template.

        Args:
            starts: what is given, one for each end.
            ends: the texts to score.

        Raises:
            DataError: the lists differ in length, or a text is empty.
            PromptTooLongError: a start with its end does not fit the model's window; nothing was computed.
        """
        if len(starts) != len(ends) or not all(map(str.strip, [*starts, *ends])):
            raise DataError("every text to score wants one that it goes on from", hint="Give no empty ones")
        texts = [f"{start} {end}" for start, end in zip(starts, ends, strict=True)]
        entries = []
        whole = self.template.control.encode_documents(texts)
        for start, ids, (plain, offsets) in zip(starts, whole, self.template.encode(texts), strict=True):
            n_end = sum(first_character(offset) >= len(start) for offset in offsets)
            lead = ids[:1] if ids[:1] == [self.tokenizer.bos_token_id] != plain[:1] else []
            entries.append(OptionIds([*lead, *plain], n_end))
        self._check_window([len(ids) for ids, _ in entries])
        return self._score(self.model, entries)

    def generate(
        self,
        prompts: Sequence[Sequence[Message]],
        *,
        max_new_tokens: int,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> list[Generation]:
        """Generate the assistant's turn after each prompt.

        Args:
            prompts: the messages before the turn.
            max_new_tokens: where to cut off, at least 1.
            temperature: 0 takes the likeliest token; above, samples from the whole softened distribution (no top-k,
                no top-p). A prompt's draws depend on `seed` and its place in the list, never on its batch.
            seed: of the draws.

        Where a prompt leaves less room in the model's window than `max_new_tokens`, the turn is cut at the window.

        Raises:
            DataError: the template can't be followed.
            CheckpointError: a prompt uses a token that the model has no embedding for.
            PromptTooLongError: prompts don't fit the model's window; nothing was computed.
        """
        texts = [self.template.render(prompt, add_generation_prompt=True) for prompt in prompts]
        sequences = [ids for ids, _ in self.template.encode(texts)] if texts else []
        results: list[Generation | None] = [None] * len(sequences)
        self._check_embedded(sequences)
        self._check_window([len(ids) + 1 for ids in sequences])
        limits = [min(max_new_tokens, (self.window or math.inf) - len(ids)) for ids in sequences]
        longest = max((len(ids) + limit for ids, limit in zip(sequences, limits, strict=True)), default=0)
        prefix = self._prefix(self.model, sequences, [1] * len(sequences), longest=longest)
        for limit, rows in self._turns_batches([len(ids) for ids in sequences], limits, prefix):
            draws = [torch.Generator().manual_seed(seed * 1_000_003 + row) for row in rows]
            part = pad([sequences[row] for row in rows], prefix, self._pad_id, self.device)
            written = continue_batch(
                self.model,
                part,
                prefix,
                ends=TurnEnding(self.tokenizer, self.template.end_ids, self.template.stop_texts),
                limit=limit,
                temperature=temperature,
                draws=draws,
                rope_switch=self._rope_switch,
                drops_ended=self._is_large,
            )
            for row, ids in zip(rows, written, strict=True):
                text, stopped, n_tokens = read_turn(
                    self.tokenizer, ids, self.template.end_ids, self.template.stop_texts
                )
                # Where the template itself opens the reasoning, its tag is put before the text again.
                opening = opens_reasoning(texts[row]).strip()
                text = f"{opening}\n{text}" if opening else text
                results[row] = Generation(text, "stop" if stopped else "length", n_tokens)
        return [result for result in results if result is not None]

    @cached_property
    def window(self) -> int | None:
        """How many tokens the model was made for, prompt and turn together; `None` where its config sets no bound."""
        return window_in(self.model.config)

    @cached_property
    def _rope_switch(self) -> int | None:
        return rope_switch_in(self.model.config)

    def _side(self, start: int, end: int | None = None) -> int:
        """Return a number that rows have in common which may stand in one batch: of a length, or from one to another.

        Those that grow beyond where positions are taken otherwise do so together: all of one length. So are all that a
        model takes which is not computed rightly behind padding.
        """
        if not computes_padded(self.model, self.device):
            return start
        switch = self._rope_switch or math.inf
        if start > switch:
            return -1
        return start if end is not None and end - 1 > switch else 0  # the last token that is written is never fed

    def _check_window(self, lengths: Sequence[int]) -> None:
        too_long = [number for number, n_tokens in enumerate(lengths) if n_tokens > (self.window or math.inf)]
        if too_long:
            raise PromptTooLongError(lengths[too_long[0]], self.window or 0, too_long)

    def _check_embedded(self, sequences: Sequence[Sequence[int]]) -> None:
        """Refuse tokens that the model has no embedding for, before anything is computed."""
        last = max((max(ids) for ids in sequences if ids), default=0)
        if last >= self._n_embedded:
            raise CheckpointError(
                f"the tokenizer has {len(self.tokenizer)} tokens and the model {self._n_embedded}, and a text uses "
                f"{self.tokenizer.convert_ids_to_tokens(last)!r} ({last})",
                where=str(self.tokenizer.name_or_path),
                hint="Use the model's own tokenizer, or texts without that token",
            )

    @property
    def _n_embedded(self) -> int:
        return int(self.model.get_input_embeddings().weight.shape[0])

    def _turns_batches(
        self, lengths: Sequence[int], limits: Sequence[float], prefix: Prefix
    ) -> Iterator[tuple[int, list[int]]]:
        """Put prompts in batches of one limit of new tokens, which the window makes shorter for some."""
        for limit in sorted({int(limit) for limit in limits}, reverse=True):
            group = [number for number, each in enumerate(limits) if each == limit]
            ends = [lengths[number] + limit for number in group]
            sides = [self._side(lengths[number], end) for number, end in zip(group, ends, strict=True)]
            for rows in _batches(ends, self._continued_tokens, prefix, sides):
                yield limit, [group[row] for row in rows]

    @property
    def _batch_tokens(self) -> int:
        return _CPU_BATCH if self.device.type == "cpu" else _GPU_BATCH

    @property
    def _continued_tokens(self) -> int:
        return _CPU_CONTINUED_LARGE if self._is_large and self.device.type == "cpu" else self._batch_tokens

    @property
    def _is_large(self) -> bool:
        return int(getattr(self.model.config.get_text_config(), "hidden_size", 0)) >= _LARGE_HIDDEN

    @property
    def _worth_tokens(self) -> int:
        return _WORTH_TOKENS_LARGE if self._is_large else _WORTH_TOKENS

    @property
    def _pad_id(self) -> int:
        return self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else 0

    def _option_ids(self, prompts: Sequence[Sequence[Message]], options: Sequence[str]) -> list[OptionIds]:
        answers = []
        for prompt, option in zip(prompts, options, strict=True):
            if not option.strip():
                raise DataError("an empty option can't be scored", hint="Give every option a text")
            answers.append(self.template.answer([*prompt, Message(role="assistant", content=option)]))
        encoded = self.template.encode_answers(answers)
        return [OptionIds(ids[:last], last - first) for ids, _, (first, last) in encoded]

    def _prefix(self, model: Any, sequences: Sequence[list[int]], keep: Sequence[int], *, longest: float) -> Prefix:
        """Compute once what all sequences begin with, except as many of their last tokens as `keep` says.

        Args:
            model: this one, or the exact one.
            sequences: token ids.
            keep: for each sequence, how many of its last tokens stay out.
            longest: how long a sequence becomes; beyond where positions are taken otherwise nothing is shared.
        """
        if longest > (self._rope_switch or math.inf):
            return NO_PREFIX
        length = common_length(sequences, keep, self._worth_tokens)
        if length and cache_argument(model, self.device) != "past_key_values":
            return NO_PREFIX
        return compute_prefix(model, sequences[0][:length] if length else (), self.device)

    def _pad_rows(self, rows: Sequence[Row], prefix: Prefix) -> Batch:
        if any(len(row.branches) > 1 for row in rows):
            return pad_branches(rows, prefix, self._pad_id, self.device)
        return pad([row.ids for row in rows], prefix, self._pad_id, self.device)

    def _few_logits(self, rows: Sequence[Row]) -> Iterator[list[Row]]:
        """Cut a batch where its logits would take more memory than its passage through the layers is worth."""
        most = max(1, _LOGITS_AT_ONCE // (self._n_embedded * max(row.n_kept for row in rows)))
        for start in range(0, len(rows), most):
            yield list(rows[start : start + most])


def _batches(lengths: Sequence[int], budget: int, prefix: Prefix, sides: Sequence[int]) -> Iterator[list[int]]:
    """Put indices in batches of like length, longest first, of at most `budget` padded tokens (or a single sequence).

    Args:
        lengths: of the sequences.
        budget: tokens of a batch.
        prefix: counts as memory alone: its tokens are not computed again.
        sides: a number for each sequence; those of different ones are never in a batch.
    """
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda index: (sides[index], -lengths[index], index)):
        if batch:
            width = lengths[batch[0]] - prefix.length
            most = min(budget // width, _MAX_BATCH, prefix.most_rows(width))
            if len(batch) >= most or sides[batch[0]] != sides[index]:
                yield batch
                batch = []
        batch.append(index)
    if batch:
        yield batch


def open_checkpoint(
    checkpoint: Checkpoint,
    *,
    device: str = "auto",
    dtype: str = "auto",
    template_args: Mapping[str, JsonValue] | None = None,
) -> LanguageModel:
    """Open a checkpoint for scoring and generating.

    Args:
        checkpoint: from `find_checkpoint`.
        device: "auto" (the GPU if there is one), "cpu", "cuda" or "cuda:1".
        dtype: "auto" (as saved on a GPU; on a CPU float32, or bfloat16 where a larger model is faster with it, and
            close scores are asked again in float32), or torch's name of one ("bfloat16").
        template_args: switches that the chat template itself offers (`enable_thinking`, say).

    Raises:
        CheckpointError: it does not open.
        ConfigError: the device is not there.
    """
    use_threads()
    place = pick_device(device)
    chosen: torch.dtype | str = dtype
    exact = None
    if place.type == "cpu" and dtype == "auto":
        chosen = pick_dtype(place, hidden_size_of(checkpoint))
        if chosen != torch.float32:
            exact = cache(lambda: load_model(checkpoint, dtype=torch.float32).to(place).eval())
    tokenizer = tokenizer_of(checkpoint)
    try:
        model = load_model(checkpoint, dtype=chosen).to(place).eval()
        if exact is not None and getattr(model, "hf_quantizer", None) is None:
            model = model.to(chosen)  # an adapter opens in float32 over whatever base
        refuse_uncomputed(model, checkpoint.model)
    except (RuntimeError, MemoryError) as error:
        if not lacks_memory(error):
            raise
        what = f"the model does not fit the memory of {place} ({one_line(error, 120)})"
        hint = "Name another device, or end what else computes there"
        raise CheckpointError(what, where=checkpoint.model, hint=hint) from error
    fold_rows_for_logits(model)
    template = ChatTemplate(tokenizer, template_args, ends=generation_ends(model))
    return LanguageModel(model, tokenizer, place, template, exact)
