"""A set of pairs as a folder that a step makes, and what it takes before anything is sent."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pydantic import JsonValue

from midspec.core.artifact import Built, write_rows
from midspec.core.progress import ProgressCallback
from midspec.eval_items._pair_checks import (
    AUTHOR_STAGE,
    JUDGE_STAGE,
    PAIR_TOKENS,
    Candidate,
    PairWritingConfig,
    WrittenPairs,
    pairs_request,
    verdict_request,
)
from midspec.eval_items._pairs import check_wanted, write_pairs
from midspec.evals.tasks.preference._sets import VALUES, ValueSet, value_set
from midspec.llm import Client, Request, StageEstimate, Store

_LETTERS_A_TOKEN = 4
_VERDICT_TOKENS = 90
# What is taken to pass program and judge, when nothing is known of either yet.
_PASSED = 0.6
_OPTION = "x" * 30


async def write_pair_set(
    value: ValueSet,
    config: PairWritingConfig,
    author: Client,
    judging: Client,
    store: Store,
    folder: Path,
    *,
    forbidden: Sequence[str] = (),
    on_progress: ProgressCallback | None = None,
    width: int = 20,
) -> Built:
    """Write a set of pairs into `folder`: items.jsonl, and rejects.jsonl with the reasons.

    The summary says how many were asked for and kept, by whom the others were rejected, where pairs are missing
    (`exhausted`), and that no word of the train domain stands in an item.

    Args:
        value: its row; need not be one of `VALUES`.
        config: how many, by which models.
        author: answers requests of `config.author`.
        judging: answers requests of `config.judge`.
        store: keeps every reply, so that none is paid for twice.
        folder: is there, and gets the files.
        forbidden: words that must not appear, beside `value.train_words`.
        on_progress: is told (kept, of how many, what) after each wave.
        width: how many requests are wanted in flight at once.

    Raises:
        ConfigError: fewer items are wanted than there are test domains, or the train domain is one of them.
        DataError: a word of the train domain stands in the name of a test domain.
        MidspecError: what ends the run (the budget is used up, the key is refused).
    """
    found = await write_pairs(
        value, config, author, judging, store, forbidden=forbidden, on_progress=on_progress, width=width
    )
    write_rows(folder / "items.jsonl", found.items)
    write_rows(folder / "rejects.jsonl", found.rejects)
    return Built(outputs=("items.jsonl", "rejects.jsonl"), summary=_summary(found, config))


def _summary(found: WrittenPairs, config: PairWritingConfig) -> dict[str, JsonValue]:
    n_missing = sum(found.missing.values())
    short = ", ".join(f"{domain} ({n})" for domain, n in found.missing.items())
    gaps = [len(item.options[0]) - len(item.options[1]) for item in found.items]
    return {
        "n_items": len(found.items),
        "n_wanted": config.n_items,
        "n_asked": found.n_asked,
        "domains": dict(Counter(item.domain for item in found.items)),
        "rejected": dict(Counter(reject.by for reject in found.rejects)),
        "mean_length_difference": sum(gaps) / len(gaps) if gaps else None,
        "n_words_looked_for": found.n_words,
        "words_found": {word: list(ids) for word, ids in found.words_found.items()},
        "exhausted": f"{n_missing} pairs fewer than wanted, in {short}" if n_missing else None,
    }


def estimate_pairs(value: ValueSet, config: PairWritingConfig) -> list[StageEstimate]:
    """What each stage will ask, for a forecast; the stage that ends in `.verdicts` goes to the judge.

    An estimate: 4 letters a token, 60% of what is asked for kept.

    Raises:
        ConfigError, DataError: the set can't be written as it is asked for; see `write_pair_set`.
    """
    check_wanted(value, config)
    others = [value_set(name) for name in VALUES if name != value.value]
    n_asked = math.ceil(config.n_items / _PASSED)
    n_domains = len(value.test_domains)
    n_each = min(config.n_at_once, math.ceil(n_asked / n_domains))
    n_lists = n_domains * math.ceil(n_asked / n_domains / n_each)
    pair = Candidate(value.test_domains[0], _OPTION, _OPTION)
    shown = [pair.text] * (config.n_items // n_domains // 2)
    listing = pairs_request(value, pair.domain, n_each, shown, 0, config)
    verdict, _ = verdict_request(value, pair, others, config)
    return [
        _load(AUTHOR_STAGE, n_lists, listing, n_each * PAIR_TOKENS),
        _load(JUDGE_STAGE, n_asked, verdict, _VERDICT_TOKENS),
    ]


def _load(stage: str, n_requests: int, request: Request, n_output: int) -> StageEstimate:
    return StageEstimate(
        stage=stage,
        n_requests=n_requests,
        prefix_tokens=_tokens(request.prefix),
        prompt_tokens=_tokens(request.prompt),
        output_tokens=n_output,
    )


def _tokens(text: str) -> int:
    return math.ceil(len(text.encode()) / _LETTERS_A_TOKEN)
