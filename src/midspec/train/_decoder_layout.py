"""The tokens of a packed batch as `_decoder.py` computes them: document after document, and in groups for attention."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from midspec.train._pack import IGNORED

# Documents are padded to the longest of their group: more groups are more calls, fewer are more padding.
_LONGEST_SHARE, _SHORT_TOKENS = 0.6, 32


class Group(NamedTuple):
    """Documents that are padded to `n_tokens`, and what none of their tokens sees: (tokens, tokens), to be added."""

    n_documents: int
    n_tokens: int
    unseen: torch.Tensor


class Laid(NamedTuple):
    """The tokens of a batch that the loss depends on, document after document, long ones first.

    Attributes:
        distinct: the ids that occur.
        ids: of each token, its place in `distinct`.
        turns: of each token its rotation; (tokens, 1, half a head), complex.
        back: the inverse rotation.
        groups: of documents.
        sizes: rows of the groups' queries, keys and values, in this order.
        padded: which row of (tokens x heads) stands at each place of the groups' queries, keys and values.
        unpadded: the inverse: where each token's heads stand there.
        answers: which row of (tokens + 1, heads) stands at each place of the groups' outputs; the last is padding.
        unanswered: the inverse.
        places: the tokens that predict one that is supervised.
        targets: what they predict.
    """

    distinct: torch.Tensor
    ids: torch.Tensor
    turns: torch.Tensor
    back: torch.Tensor
    groups: list[Group]
    sizes: list[int]
    padded: torch.Tensor
    unpadded: torch.Tensor
    answers: torch.Tensor
    unanswered: torch.Tensor
    places: torch.Tensor
    targets: torch.Tensor


def lay_out(inputs: Mapping[str, torch.Tensor], turns: torch.Tensor, n_heads: int, n_kv: int) -> Laid | None:
    """Find the documents of a packed batch, leave out what nothing is learnt from; `None` if nothing is left.

    Args:
        inputs: as `collate` makes them of packed rows.
        turns: (positions, half a head), complex: the rotation of each position.
        n_heads: of queries.
        n_kv: heads of keys and values.
    """
    ids, positions, labels = (inputs[name].numpy() for name in ("input_ids", "position_ids", "labels"))
    following = np.full_like(labels, IGNORED)
    following[:, :-1] = labels[:, 1:]
    ids, positions, following = ids.ravel(), positions.ravel(), following.ravel()
    predicts = following != IGNORED
    starts = np.flatnonzero(positions == 0)
    lengths = np.maximum.reduceat(np.where(predicts, np.arange(len(ids)), -1), starts) - starts + 1
    order = np.argsort(-lengths, kind="stable")[: int((lengths > 0).sum())]
    if not len(order):
        return None
    starts, lengths = starts[order], lengths[order]
    begins = np.cumsum(lengths) - lengths
    tokens = np.arange(int(lengths.sum())) + np.repeat(starts - begins, lengths)
    places = np.flatnonzero(predicts[tokens])
    distinct, which = np.unique(ids[tokens], return_inverse=True)
    own_turns = turns.index_select(0, torch.from_numpy(positions[tokens])).unsqueeze(1)
    return Laid(
        torch.from_numpy(distinct),
        torch.from_numpy(which),
        own_turns,
        own_turns.conj().resolve_conj(),
        *_group(begins, lengths, n_heads, n_kv),
        torch.from_numpy(places),
        torch.from_numpy(following[tokens[places]]),
    )


def _group(
    begins: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64], n_heads: int, n_kv: int
) -> tuple[list[Group], list[int], torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Pad documents of like length to one length; see `Laid` for what is returned."""
    n_all = n_heads + 2 * n_kv
    heads = np.arange(n_all)
    kinds = (slice(0, n_heads), slice(n_heads, n_heads + n_kv), slice(n_heads + n_kv, n_all))
    n_tokens = int(lengths.sum())
    groups, sizes, padded, answers = [], [], [], []
    unpadded, unanswered = np.empty((n_tokens, n_all), np.int64), np.empty((n_tokens, n_heads), np.int64)
    first, n_rows, n_answers, all_lengths = 0, 0, 0, lengths.tolist()
    while first < len(lengths):
        longest = all_lengths[first]
        least = longest * _LONGEST_SHARE if longest > _SHORT_TOKENS else 0
        n = next((at for at, length in enumerate(all_lengths[first:]) if length < least), len(all_lengths) - first)
        own = lengths[first : first + n]
        begin, inside = begins[first : first + n, None], np.arange(longest)
        is_real = inside < own[:, None]
        token = begin + inside
        row = np.where(is_real, token, begin)[:, None, :] * n_all
        answers.append((np.where(is_real, token, n_tokens)[:, None, :] * n_heads + heads[:n_heads, None]).ravel())
        here = slice(int(begin[0, 0]), int(begin[-1, 0] + own[-1]))
        document = np.repeat(np.arange(n), own)[:, None]
        inner = np.arange(here.start, here.stop)[:, None] - begin[document[:, 0]]
        unanswered[here] = n_answers + (document * n_heads + heads[:n_heads]) * longest + inner
        for kind in kinds:
            width = kind.stop - kind.start
            padded.append((row + heads[kind, None]).ravel())
            unpadded[here, kind] = n_rows + (document * width + np.arange(width)) * longest + inner
            sizes.append(n * width * longest)
            n_rows += sizes[-1]
        n_answers += sizes[-3]
        groups.append(Group(n, longest, _unseen(longest)))
        first += n
    return (
        groups,
        sizes,
        torch.from_numpy(np.concatenate(padded)),
        torch.from_numpy(unpadded.ravel()),
        torch.from_numpy(np.concatenate(answers)),
        torch.from_numpy(unanswered.ravel()),
    )


@lru_cache(maxsize=512)
def _unseen(n_tokens: int) -> torch.Tensor:
    return torch.full((n_tokens, n_tokens), -torch.inf).triu_(1)
