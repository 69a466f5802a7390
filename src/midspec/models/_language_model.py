"""A loaded model: it scores options and generates, in batches whose padding changes no result.

Sequences are padded on the left, masked, and given their own positions, so that a result does not hang on what
else is in the batch (beyond float noise), and so that only the last positions need logits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, final

import torch
from pydantic import JsonValue
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from midspec.core.errors import DataError
from midspec.core.records import Checkpoint, Message
from midspec.models._chat import ChatTemplate
from midspec.models._open import load_model, pick_device, tokenizer_of, use_threads
from midspec.models._turn_ends import ended_by_text, generation_ends, read_turn

# Under this many tokens a second, shorter pass costs more than it saves.
_WORTH_TOKENS = 64
_CACHE_BYTES = 512 * 2**20


class Prefix(NamedTuple):
    """A shared prefix's keys and values by layer, each (1, heads, `length`, size); none where `length` is 0."""

    length: int
    layers: tuple[tuple[torch.Tensor, torch.Tensor], ...]

    def cache(self, n_rows: int) -> DynamicCache:
        """Make a cache for a batch of `n_rows` sequences that begin with the prefix, without a copy."""
        return DynamicCache(
            [(keys.expand(n_rows, -1, -1, -1), values.expand(n_rows, -1, -1, -1)) for keys, values in self.layers]
        )

    def most_rows(self, width: int) -> int:
        """Return how many sequences of `width` further tokens fit the memory that a batch's copies may take."""
        n_bytes = sum(part.element_size() * part.numel() for layer in self.layers for part in layer)
        return max(1, int(_CACHE_BYTES // max(1.0, n_bytes * (1 + width / max(1, self.length)))))


NO_PREFIX = Prefix(0, ())


def common_length(sequences: Sequence[list[int]], keep: Sequence[int]) -> int:
    """Return how many tokens all `sequences` begin with; 0 where sharing them is not worth a pass.

    Args:
        sequences: token ids.
        keep: for each sequence, how many of its last tokens must stay out of what is shared (at least 1).
    """
    if len(sequences) < 2:
        return 0
    first, last = min(sequences), max(sequences)  # what these two share, all that sort between them share
    most = min(len(ids) - kept for ids, kept in zip(sequences, keep, strict=True))
    length = next(
        (at for at, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(map(len, (first, last)))
    )
    length = min(length, most)
    return length if length >= _WORTH_TOKENS else 0


def compute_prefix(model: Any, ids: Sequence[int], device: torch.device) -> Prefix:
    """Compute the keys and values of `ids`; `NO_PREFIX` for a model whose layers keep anything but all of them.

    (A sliding window forgets, a recurrent layer keeps a state: what those hold can't be continued row by row.)
    """
    cache = DynamicCache(config=model.config)
    if not ids or any(type(layer) is not DynamicLayer for layer in cache.layers):
        return NO_PREFIX
    with torch.inference_mode():
        model(
            input_ids=torch.tensor([list(ids)], device=device), past_key_values=cache, use_cache=True, logits_to_keep=1
        )
    return Prefix(len(ids), tuple((layer.keys, layer.values) for layer in cache.layers))


_THINK = "<think>"
_CPU_BATCH, _GPU_BATCH = 4096, 65536  # tokens with padding
_MAX_BATCH = 128


class OptionScore(NamedTuple):
    """The log-probability of an option's text, summed over its `n_tokens` tokens; natural logarithm."""

    logprob: float
    n_tokens: int


class Generation(NamedTuple):
    """What a model wrote, why it stopped ("length": it was cut off), and its number of tokens."""

    text: str
    stop_reason: Literal["stop", "length"]
    n_tokens: int


class _OptionIds(NamedTuple):
    """A sequence that ends with the option, and which of its tokens are the option's (a run at the end)."""

    ids: list[int]
    n_option: int


class _Batch(NamedTuple):
    """Left-padded ids and positions, each (rows, width), and the mask, which also covers the prefix before them."""

    ids: torch.Tensor
    mask: torch.Tensor
    positions: torch.Tensor


@final
@dataclass(frozen=True)
class LanguageModel:
    """A loaded checkpoint with its tokenizer. Make one with `open_checkpoint`."""

    model: Any
    tokenizer: Any
    device: torch.device
    template: ChatTemplate

    def option_logprobs(self, prompts: Sequence[Sequence[Message]], options: Sequence[str]) -> list[OptionScore]:
        """Score how likely each option is as the assistant's turn after its prompt, without the end of the turn.

        Args:
            prompts: the messages before the turn, one sequence for each option.
            options: the texts to score.

        Raises:
            DataError: the lists differ in length, an option is empty, or the template can't be followed.
        """
        if len(prompts) != len(options):
            raise DataError(f"{len(prompts)} prompts for {len(options)} options", hint="Give one prompt an option")
        scored = self._option_ids(prompts, options)
        # The last token is read off, never fed: options of one prompt that differ in it alone share a pass.
        sharing: dict[tuple[int, ...], list[int]] = {}
        for index, entry in enumerate(scored):
            sharing.setdefault(tuple(entry.ids[:-1]), []).append(index)
        contexts, members = [list(ids) for ids in sharing], list(sharing.values())
        prefix = self._prefix(contexts, [max(scored[index].n_option for index in indices) for indices in members])
        results: dict[int, OptionScore] = {}
        for rows in _batches([len(context) for context in contexts], self._batch_tokens, prefix):
            groups = [[scored[index] for index in members[row]] for row in rows]
            for row, sums in zip(rows, self._sum_logprobs(groups, prefix), strict=True):
                for index, value in zip(members[row], sums, strict=True):
                    results[index] = OptionScore(value, scored[index].n_option)
        return [results[index] for index in range(len(scored))]

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

        Raises:
            DataError: the template can't be followed.
        """
        texts = [self.template.render(prompt, add_generation_prompt=True) for prompt in prompts]
        sequences = [ids for ids, _ in self.template.encode(texts)] if texts else []
        results: list[Generation | None] = [None] * len(sequences)
        lengths = [len(ids) + max_new_tokens for ids in sequences]
        prefix = self._prefix(sequences, [1] * len(sequences))
        for rows in _batches(lengths, self._batch_tokens, prefix):
            draws = [torch.Generator().manual_seed(seed * 1_000_003 + row) for row in rows]
            written = self._sample([sequences[row] for row in rows], prefix, max_new_tokens, temperature, draws)
            for row, ids in zip(rows, written, strict=True):
                text, stopped, n_tokens = read_turn(
                    self.tokenizer, ids, self.template.end_ids, self.template.stop_texts
                )
                # Where the template itself opens the reasoning, its tag is put before the text again.
                text = f"{_THINK}\n{text}" if texts[row].rstrip().endswith(_THINK) else text
                results[row] = Generation(text, "stop" if stopped else "length", n_tokens)
        return [result for result in results if result is not None]

    @property
    def _batch_tokens(self) -> int:
        return _CPU_BATCH if self.device.type == "cpu" else _GPU_BATCH

    def _option_ids(self, prompts: Sequence[Sequence[Message]], options: Sequence[str]) -> list[_OptionIds]:
        answers = []
        for prompt, option in zip(prompts, options, strict=True):
            if not option.strip():
                raise DataError("an empty option can't be scored", hint="Give every option a text")
            answers.append(self.template.answer([*prompt, Message(role="assistant", content=option)]))
        encoded = self.template.encode_answers(answers)
        return [_OptionIds(ids[:last], last - first) for ids, _, (first, last) in encoded]

    def _prefix(self, sequences: Sequence[list[int]], keep: Sequence[int]) -> Prefix:
        """Compute once what all sequences begin with, except as many of their last tokens as `keep` says."""
        length = common_length(sequences, keep)
        return compute_prefix(self.model, sequences[0][:length] if length else (), self.device)

    def _sum_logprobs(self, groups: Sequence[Sequence[_OptionIds]], prefix: Prefix) -> list[list[float]]:
        """Sum the log-probabilities of each entry; the entries of a group share all tokens but the last."""
        batch = self._pad([group[0].ids[:-1] for group in groups], prefix)
        keep = max(entry.n_option for group in groups for entry in group)
        with torch.inference_mode():
            logits = self.model(
                input_ids=batch.ids,
                attention_mask=batch.mask,
                position_ids=batch.positions,
                past_key_values=prefix.cache(len(groups)) if prefix.length else None,
                use_cache=prefix.length > 0,
                logits_to_keep=keep,
            ).logits
            logprobs = torch.log_softmax(logits[:, -keep:].float(), dim=-1)
            sums: list[list[float]] = []
            for row, group in zip(logprobs, groups, strict=True):
                targets = [
                    torch.tensor(entry.ids[-entry.n_option :], device=row.device).unsqueeze(1) for entry in group
                ]
                sums.append([float(row[-len(each) :].gather(1, each).double().sum()) for each in targets])
        return sums

    def _sample(
        self,
        sequences: Sequence[list[int]],
        prefix: Prefix,
        limit: int,
        temperature: float,
        draws: Sequence[torch.Generator],
    ) -> list[list[int]]:
        """Sample the new tokens of each sequence, the end token included if it came."""
        ends, stop_texts = torch.tensor(self.template.end_ids, device=self.device), self.template.stop_texts
        ids, mask, positions = self._pad(sequences, prefix)
        cache = prefix.cache(len(sequences)) if prefix.length else DynamicCache(config=self.model.config)
        written: list[torch.Tensor] = []
        done = torch.zeros(len(sequences), dtype=torch.bool, device=self.device)
        with torch.inference_mode():
            for _ in range(limit):
                logits = self.model(
                    input_ids=ids,
                    attention_mask=mask,
                    position_ids=positions,
                    past_key_values=cache,
                    use_cache=True,
                    logits_to_keep=1,
                ).logits[:, -1]
                token = _next_tokens(logits, temperature, draws)
                written.append(token)
                done |= torch.isin(token, ends)
                if stop_texts:
                    done |= ended_by_text(self.tokenizer, written, stop_texts)
                if bool(done.all()):
                    break
                ids, positions = token.unsqueeze(1), positions[:, -1:] + 1
                mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
        end_ids = self.template.end_ids
        rows = torch.stack(written, dim=1).tolist()
        return [next((ids[: at + 1] for at, token in enumerate(ids) if token in end_ids), ids) for ids in rows]

    def _pad(self, sequences: Sequence[list[int]], prefix: Prefix) -> _Batch:
        """Pad what follows the prefix; the mask covers both, (rows, prefix + width)."""
        width = max(len(ids) for ids in sequences) - prefix.length
        pad = self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else 0
        ids = torch.full((len(sequences), width), pad, dtype=torch.long)
        mask = torch.zeros((len(sequences), width), dtype=torch.long)
        for row, sequence in enumerate(sequences):
            rest = sequence[prefix.length :]
            ids[row, width - len(rest) :] = torch.tensor(rest)
            mask[row, width - len(rest) :] = 1
        positions = (mask.cumsum(-1) - 1).clamp(min=0) + prefix.length
        mask = torch.cat([mask.new_ones(len(mask), prefix.length), mask], dim=1)
        return _Batch(ids.to(self.device), mask.to(self.device), positions.to(self.device))


def _next_tokens(logits: torch.Tensor, temperature: float, draws: Sequence[torch.Generator]) -> torch.Tensor:
    """Choose one token a row of `logits`, (rows, vocabulary): the likeliest, or drawn with the row's generator."""
    if temperature <= 0:
        return logits.argmax(dim=-1)
    shares = torch.softmax(logits.double() / temperature, dim=-1).cpu()
    drawn = [torch.multinomial(row, 1, generator=draw) for row, draw in zip(shares, draws, strict=True)]
    return torch.cat(drawn).to(logits.device)


def _batches(lengths: Sequence[int], budget: int, prefix: Prefix) -> Iterator[list[int]]:
    """Put indices in batches of like length, longest first, of at most `budget` padded tokens (or a single sequence).

    The prefix counts as memory alone: its tokens are not computed again.
    """
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda index: (-lengths[index], index)):
        if batch:
            width = lengths[batch[0]] - prefix.length
            most = min(budget // width, _MAX_BATCH, prefix.most_rows(width))
            if len(batch) >= most:
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
        dtype: "auto" (as saved on a GPU, float32 on a CPU), or torch's name of one ("bfloat16").
        template_args: switches that the chat template itself offers (`enable_thinking`, say).

    Raises:
        CheckpointError: it does not open.
        ConfigError: the device is not there.
    """
    use_threads()
    place = pick_device(device)
    chosen: torch.dtype | str = torch.float32 if place.type == "cpu" and dtype == "auto" else dtype
    tokenizer = tokenizer_of(checkpoint)
    model = load_model(checkpoint, dtype=chosen).to(place).eval()
    return LanguageModel(model, tokenizer, place, ChatTemplate(tokenizer, template_args, ends=generation_ends(model)))
