"""Log-probabilities of given texts: options of one prompt are branches of one row, and the prompt is computed once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch

from midspec.models._cache import NO_PREFIX, Prefix, is_plain, keeps_all
from midspec.models._results import OptionScore


class OptionIds(NamedTuple):
    """A sequence that ends with the option, and which of its tokens are the option's (a run at the end)."""

    ids: list[int]
    n_option: int


class Row(NamedTuple):
    """A prompt and what follows it in one row of a batch.

    Attributes:
        prompt: the tokens before the options.
        branches: the options' tokens without each one's last, which is read off and never fed.
        members: the numbers of the entries that each branch is for.
    """

    prompt: tuple[int, ...]
    branches: tuple[tuple[int, ...], ...]
    members: tuple[tuple[int, ...], ...]

    @property
    def ids(self) -> list[int]:
        """All tokens that are fed."""
        return [*self.prompt, *(token for branch in self.branches for token in branch)]

    @property
    def n_kept(self) -> int:
        """How many of the last tokens need logits: the prompt's last one, and the branches."""
        return 1 + sum(map(len, self.branches))


def make_rows(entries: Sequence[OptionIds], *, worth_tokens: int | None) -> list[Row]:
    """Put entries in rows: a branch for those that differ in their last token alone, a row for branches of one prompt.

    Args:
        entries: what to score.
        worth_tokens: from how many tokens of a prompt on its options share a row; `None` for a row an option.
    """
    branches: dict[tuple[tuple[int, ...], tuple[int, ...]], list[int]] = {}
    for number, (ids, n_option) in enumerate(entries):
        split = len(ids) - n_option
        branches.setdefault((tuple(ids[:split]), tuple(ids[split:-1])), []).append(number)
    prompts: dict[tuple[int, ...], list[tuple[tuple[int, ...], tuple[int, ...]]]] = {}
    for (prompt, branch), members in branches.items():
        prompts.setdefault(prompt, []).append((branch, tuple(members)))
    rows = []
    for prompt, found in prompts.items():
        if worth_tokens is not None and len(prompt) >= worth_tokens:
            rows.append(Row(prompt, tuple(branch for branch, _ in found), tuple(members for _, members in found)))
        else:
            rows += [Row(prompt, (branch,), (members,)) for branch, members in found]
    return sorted(rows, key=lambda row: row.members[0])


class Batch(NamedTuple):
    """Left-padded ids and positions, each (rows, width), and the mask, which also covers the prefix before them."""

    ids: torch.Tensor
    mask: torch.Tensor
    positions: torch.Tensor


def pad(sequences: Sequence[Sequence[int]], prefix: Prefix, pad_id: int, device: torch.device) -> Batch:
    """Pad what follows the prefix; the mask covers both, (rows, prefix + width)."""
    width = max(len(ids) for ids in sequences) - prefix.length
    ids = torch.full((len(sequences), width), pad_id, dtype=torch.long)
    mask = torch.zeros((len(sequences), width), dtype=torch.long)
    for row, sequence in enumerate(sequences):
        rest = sequence[prefix.length :]
        ids[row, width - len(rest) :] = torch.tensor(rest)
        mask[row, width - len(rest) :] = 1
    positions = (mask.cumsum(-1) - 1).clamp(min=0) + prefix.length
    mask = torch.cat([mask.new_ones(len(mask), prefix.length), mask], dim=1)
    return Batch(ids.to(device), mask.to(device), positions.to(device))


def pad_branches(rows: Sequence[Row], prefix: Prefix, pad_id: int, device: torch.device) -> Batch:
    """Pad rows whose branches see the prompt and themselves, not each other; the mask is (rows, 1, width, all)."""
    batch = pad([row.ids for row in rows], prefix, pad_id, torch.device("cpu"))
    n_rows, width = batch.ids.shape
    branch = torch.full((n_rows, width), -1)  # -1 for padding, 0 for the prompt, then each branch's number
    positions = batch.positions.clone()
    for at, row in enumerate(rows):
        end = width - (row.n_kept - 1)
        branch[at, end - (len(row.prompt) - prefix.length) : end] = 0
        for number, ids in enumerate(row.branches, start=1):
            branch[at, end : end + len(ids)] = number
            positions[at, end : end + len(ids)] = torch.arange(len(ids)) + len(row.prompt)
            end += len(ids)
    own, other = branch.unsqueeze(2), branch.unsqueeze(1)
    seen = ((other == 0) | (other == own)) & torch.ones((width, width), dtype=torch.bool).tril()
    seen &= (other >= 0) | torch.eye(width, dtype=torch.bool)  # padding sees itself alone: a row of no tokens is nan
    mask = torch.cat([torch.ones((n_rows, width, prefix.length), dtype=torch.bool), seen], dim=2)
    return Batch(batch.ids.to(device), mask.unsqueeze(1).to(device), positions.to(device))


def sum_logprobs(
    model: Any, rows: Sequence[Row], entries: Sequence[OptionIds], batch: Batch, prefix: Prefix
) -> dict[int, OptionScore]:
    """Sum the log-probabilities of all entries of a batch's rows, by the entries' numbers.

    Args:
        model: on the batch's device.
        rows: of the batch.
        entries: what the rows' members are numbers of.
        batch: the rows, padded.
        prefix: what all rows begin with.
    """
    keep = max(row.n_kept for row in rows)
    scores: dict[int, OptionScore] = {}
    with torch.inference_mode():
        logits = model(
            input_ids=batch.ids,
            attention_mask=batch.mask,
            position_ids=batch.positions,
            past_key_values=prefix.cache(len(rows)) if prefix.length else None,
            use_cache=prefix.length > 0,
            logits_to_keep=keep,
        ).logits
        logprobs = torch.log_softmax(logits[:, -keep:].float(), dim=-1)
        for row, table in zip(rows, logprobs, strict=True):
            start = keep - row.n_kept
            branch_start = start + 1
            for branch, members in zip(row.branches, row.members, strict=True):
                places = [start, *range(branch_start, branch_start + len(branch))]
                branch_start += len(branch)
                for number in members:
                    ids, n_option = entries[number]
                    targets = torch.tensor(ids[-n_option:], device=table.device).unsqueeze(1)
                    found = table[places].gather(1, targets)
                    scores[number] = OptionScore(float(found.double().sum()), n_option)
    return scores


_COMPUTES_BRANCHES: WeakKeyDictionary[torch.nn.Module, bool] = WeakKeyDictionary()


def computes_branches(model: Any, device: torch.device) -> bool:
    """Return whether options in one row get the scores that each gets in a row of its own; measured once a model."""
    if model not in _COMPUTES_BRANCHES:
        _COMPUTES_BRANCHES[model] = keeps_all(model.config) and _branches_agree(model, device)
    return _COMPUTES_BRANCHES[model]


def _branches_agree(model: Any, device: torch.device) -> bool:
    ids = [at % int(model.get_input_embeddings().weight.shape[0]) for at in range(1, 15)]
    entries = [OptionIds([*ids[:8], *ids[8:10]], 2), OptionIds([*ids[:8], *ids[10:14]], 4), OptionIds(ids[4:11], 3)]
    apart, together = make_rows(entries, worth_tokens=None), make_rows(entries, worth_tokens=1)
    try:
        found = sum_logprobs(model, together, entries, pad_branches(together, NO_PREFIX, 0, device), NO_PREFIX)
    except (ValueError, RuntimeError, TypeError, IndexError):
        return False
    alone = pad([row.ids for row in apart], NO_PREFIX, 0, device)
    expected = sum_logprobs(model, apart, entries, alone, NO_PREFIX)
    tolerance = 1e-4 if model.dtype == torch.float32 else 2e-2
    return all(abs(found[at].logprob - one.logprob) <= tolerance * abs(one.logprob) for at, one in expected.items())


_COMPUTES_PADDED: WeakKeyDictionary[torch.nn.Module, bool] = WeakKeyDictionary()


def computes_padded(model: Any, device: torch.device) -> bool:
    """Return whether a sequence behind padding gets the score that it gets alone; measured once a model.

    Attention masks padding. Layers that keep a state, or compress what came before, need to be told of it, and not all
    are (transformers 5.23: RecurrentGemma, DeepSeek V4); nor are positions that a model counts by itself (RWKV has
    neither, and BART's decoder counts padding).
    """
    if model not in _COMPUTES_PADDED:
        _COMPUTES_PADDED[model] = is_plain(model) or _padding_agrees(model, device)
    return _COMPUTES_PADDED[model]


def _padding_agrees(model: Any, device: torch.device) -> bool:
    n_ids = int(model.get_input_embeddings().weight.shape[0])
    long, short = ([at % n_ids for at in range(first, 25)] for first in (1, 12))
    entries = [OptionIds(long, 4), OptionIds(short, 4)]
    rows = make_rows(entries, worth_tokens=None)

    def scores(parts: Sequence[list[Row]]) -> list[float]:
        found: dict[int, OptionScore] = {}
        for part in parts:
            # With an ordinary token: where padding has an embedding of zeros, it may not show.
            batch = pad([row.ids for row in part], NO_PREFIX, n_ids // 2, device)
            found |= sum_logprobs(model, part, entries, batch, NO_PREFIX)
        return [found[number].logprob for number in range(len(entries))]

    together, alone = scores([rows]), scores([[row] for row in rows])
    tolerance = 1e-4 if model.dtype == torch.float32 else 2e-2
    return all(abs(a - b) <= tolerance * abs(b) for a, b in zip(together, alone, strict=True))


def near_ties(prompts: Sequence[object], scores: Sequence[OptionScore]) -> list[int]:
    """Return the numbers of all scores of prompts under which rounding could change which of two options is likelier.

    By the sum over their tokens, or by the mean of them.

    Args:
        prompts: what tells one prompt from another, one for each score.
        scores: of one option each.
    """
    groups: dict[object, list[int]] = {}
    for number, prompt in enumerate(prompts):
        groups.setdefault(prompt, []).append(number)
    found: list[int] = []
    for members in groups.values():
        values = [scores[number] for number in members]
        is_near = any(_near(one, other) for at, one in enumerate(values) for other in values[:at])
        if is_near:
            found += members
    return sorted(found)


# bfloat16 moves a token's log-probability by about this much; sums of tokens move by its root.
_TOKEN_NOISE = 0.1


def _near(one: OptionScore, other: OptionScore) -> bool:
    noise = _TOKEN_NOISE * (one.n_tokens + other.n_tokens) ** 0.5
    mean_noise = _TOKEN_NOISE * (1 / one.n_tokens + 1 / other.n_tokens) ** 0.5
    means = one.logprob / one.n_tokens, other.logprob / other.n_tokens
    return bool(abs(one.logprob - other.logprob) < noise or abs(means[0] - means[1]) < mean_noise)
