"""Held-out pairs for a value, written by one model and judged by another.

In: a value with its domains, an author and a judge, and words of the train domain. Out: items in even numbers from each
test domain, and rejects with reasons. It goes in rounds: every domain that lacks pairs is asked at once, the replies
are checked in a fixed order, and what passes is judged at once. So the same replies give the same set, and a run that
was stopped replays what is in the store.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from midspec.core.artifact import Built, ProgressCallback, write_rows
from midspec.core.errors import ConfigError, DataError
from midspec.core.records import Item, Reject
from midspec.eval_items._pair_checks import (
    AUTHOR_STAGE,
    JUDGE_STAGE,
    Candidate,
    PairChecks,
    PairVerdict,
    PairWritingConfig,
    WrittenPairs,
    pairs_request,
    read_pairs,
    verdict_request,
)
from midspec.evals.tasks.preference import VALUES, ValueSet, value_set, words_found
from midspec.generation import estimate_stage, gather
from midspec.llm import Client, ParsedReply, StageEstimate, Store, UsableReplies, converse, parse_json_reply

# Pairs are asked for as if at least this share were kept, so that one bad round does not ask for a thousand.
_MIN_KEPT_RATE = 0.1
# After so many rounds in a row without a new pair, more of them would not help.
_MAX_EMPTY_ROUNDS = 3
# For estimates: tokens of a pair and of a verdict, a typical option, and the share of pairs that pass code and judge.
_PAIR_TOKENS, _VERDICT_TOKENS = 45, 90
_OPTION = "a weekend in a small town"
_KEPT_RATE = 0.6


async def write_pair_set(
    value: ValueSet,
    config: PairWritingConfig,
    author: Client,
    judge: Client,
    store: Store,
    folder: Path,
    *,
    forbidden: Sequence[str] = (),
    on_progress: ProgressCallback | None = None,
    width: int = 20,
) -> Built:
    """Write a set of pairs into `folder`: items.jsonl, and rejects.jsonl with the reasons.

    The summary holds how many were asked for and kept, by whom the others were rejected, where pairs are missing
    (`exhausted`), and the words of the train domain that stand in an item.

    Arguments and errors are those of `write_pairs`; `folder` must exist, and takes the files.
    """
    written = await write_pairs(
        value, config, author, judge, store, forbidden=forbidden, on_progress=on_progress, width=width
    )
    write_rows(folder / "items.jsonl", written.items)
    write_rows(folder / "rejects.jsonl", written.rejects)
    n_missing = sum(written.missing.values())
    lacking = ", ".join(f"{domain} ({n})" for domain, n in written.missing.items())
    gaps = [len(item.options[0]) - len(item.options[1]) for item in written.items]
    summary = {
        "n_items": len(written.items),
        "n_wanted": config.n_items,
        "n_asked": written.n_asked,
        "domains": dict(Counter(item.domain for item in written.items)),
        "rejected": dict(Counter(reject.by for reject in written.rejects)),
        "mean_length_difference": sum(gaps) / len(gaps) if gaps else None,
        "n_words_looked_for": written.n_words,
        "words_found": {word: list(ids) for word, ids in written.words_found.items()},
        "exhausted": f"{n_missing} pairs fewer than wanted, in {lacking}" if n_missing else None,
    }
    return Built(outputs=("items.jsonl", "rejects.jsonl"), summary=summary)


async def write_pairs(
    value: ValueSet,
    config: PairWritingConfig,
    author: Client,
    judge: Client,
    store: Store,
    *,
    forbidden: Sequence[str] = (),
    others: Sequence[ValueSet] | None = None,
    on_progress: ProgressCallback | None = None,
    width: int = 20,
) -> WrittenPairs:
    """Write a set for any value over its test domains; the domains in `opinion_domains` get pairs of opinions.

    A pair is rejected where its wording gives the value away, where the judge (who isn't told which option is the
    target) would not pick the target, where another value decides as well, where it repeats another pair, where a word
    of the train domain stands in it, or where lengths would come to tell the target. So is what is unclear.

    Args:
        value: its row; need not be one of `VALUES`.
        config: how many, by which models.
        author: answers requests of `config.author`.
        judge: answers requests of `config.judge`.
        store: keeps every reply, so that none is paid for twice.
        forbidden: words that must not appear, beside `value.train_words`: terms of the training rows, say.
        others: values that a pair must not test as well; the shipped ones but `value` by default.
        on_progress: is told (kept, of how many, what) after each round.
        width: how many requests are wanted in flight at once.

    Raises:
        ConfigError: fewer items are wanted than there are test domains, or the train domain is one of them.
        DataError: a word of the train domain stands in the name of a test domain.
        MidspecError: what ends the run (the budget is used up, the key is refused).
    """
    words = _train_domain_words(value, config, forbidden)
    writer = _PairWriter(value, config, _other_values(value) if others is None else others, words)
    while writer.needs_round():
        replies = await gather(lambda wanted: writer.ask_author(author, store, *wanted), writer.wanted(), width)
        candidates = writer.check_replies(replies)
        verdicts = await gather(lambda pair: writer.ask_judge(judge, store, pair), candidates, width)
        writer.end_round(candidates, verdicts)
        if on_progress is not None:
            on_progress(len(writer.pairs), config.n_items, f"pairs for {value.value}")
    return writer.result()


def estimate_pairs(value: ValueSet, config: PairWritingConfig) -> list[StageEstimate]:
    """Estimate each stage for a forecast, with 60% of the pairs kept; the stage `.verdicts` goes to the judge.

    Raises:
        ConfigError, DataError: the set can't be written as it is asked for; see `write_pairs`.
    """
    _train_domain_words(value, config)
    n_asked = math.ceil(config.n_items / _KEPT_RATE)
    n_domains = len(value.test_domains)
    n_each = min(config.n_at_once, math.ceil(n_asked / n_domains))
    n_lists = n_domains * math.ceil(n_asked / n_domains / n_each)
    pair = Candidate(value.test_domains[0], _OPTION, _OPTION)
    shown = [pair.text] * (config.n_items // n_domains // 2)
    listing = pairs_request(value, pair.domain, n_each, shown, 0, config)
    verdict, _ = verdict_request(value, pair, _other_values(value), config)
    return [
        estimate_stage(AUTHOR_STAGE, n_lists, n_each * _PAIR_TOKENS, prefix=listing.prefix, prompt=listing.prompt),
        estimate_stage(JUDGE_STAGE, n_asked, _VERDICT_TOKENS, prefix=verdict.prefix, prompt=verdict.prompt),
    ]


def _other_values(value: ValueSet) -> list[ValueSet]:
    return [value_set(name) for name in VALUES if name != value.value]


def _train_domain_words(value: ValueSet, config: PairWritingConfig, forbidden: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the words that may stand in no pair; refuse a set that can't be even, or held out."""
    words = tuple(dict.fromkeys((value.train_domain, *value.train_words, *forbidden)))
    if config.n_items < len(value.test_domains) or value.train_domain in value.test_domains:
        what = f"{config.n_items} items over {len(value.test_domains)} domains, trained on {value.train_domain!r}"
        hint = "Ask for at least one item a domain, and keep the train domain out of the test domains"
        raise ConfigError(what, where=f"the set for {value.value}", hint=hint)
    names = [Item(id=name, set=value.value, domain=name, options=("", "")) for name in value.test_domains]
    if found := words_found(names, words):
        what = f"the names of test domains hold words of the train domain: {', '.join(found)}"
        raise DataError(what, where=f"the set for {value.value}", hint="Name other test domains, or fewer words")
    return words


class _PairWriter:
    """One set while it is written: the pairs so far, and what the next round asks for."""

    def __init__(
        self, value: ValueSet, config: PairWritingConfig, others: Sequence[ValueSet], words: Sequence[str]
    ) -> None:
        self._value, self._config, self._others, self._words = value, config, others, words
        self._checks = PairChecks(value, words, most_uses=config.most_uses, similarity=config.similarity)
        each, rest = divmod(config.n_items, len(value.test_domains))
        self._quota = {domain: each + (at < rest) for at, domain in enumerate(value.test_domains)}
        self._rejects: list[Reject] = []
        self._seen: set[str] = set()
        self._n_asked = self._n_empty_rounds = 0
        self._usable: UsableReplies | None = None
        self.pairs: list[Candidate] = []

    def needs_round(self) -> bool:
        """Return whether another round is wanted and may help."""
        n_most = self._config.most_asked * self._config.n_items
        return bool(self._missing()) and self._n_asked < n_most and self._n_empty_rounds < _MAX_EMPTY_ROUNDS

    def _missing(self) -> dict[str, int]:
        n_pairs = Counter(pair.domain for pair in self.pairs)
        return {domain: n - n_pairs[domain] for domain, n in self._quota.items() if n > n_pairs[domain]}

    def wanted(self) -> list[tuple[str, int]]:
        """Return how many pairs to ask for in each domain, by the share that was kept so far."""
        rate = max(_MIN_KEPT_RATE, (len(self.pairs) + 1) / (self._n_asked + 1))
        most = self._config.n_at_once
        return [(domain, min(most, math.ceil(n / min(1.0, rate)))) for domain, n in self._missing().items()]

    async def ask_author(self, author: Client, store: Store, domain: str, n: int) -> ParsedReply[tuple[Candidate, ...]]:
        """Ask for `n` pairs of a domain."""
        shown = [pair.text for pair in self.pairs if pair.domain == domain]
        request = pairs_request(self._value, domain, n, shown, self._checks.drift, self._config)
        # A domain that got nothing asks in the same words again; the number of pairs asked for tells the draws apart.
        request = request.model_copy(update={"task": f"{request.task}-{self._n_asked}"})
        reply = await converse(author, store, request, lambda text: read_pairs(text, domain))
        self._usable = self._usable or UsableReplies(store, where=self._config.author.model)
        self._usable.count(request, reply)
        return reply

    async def ask_judge(
        self, judge: Client, store: Store, pair: Candidate
    ) -> tuple[ParsedReply[PairVerdict], Literal["first", "second"]]:
        """Ask for a verdict on a pair; also return where its target stood."""
        request, target = verdict_request(self._value, pair, self._others, self._config)
        return await converse(judge, store, request, lambda text: parse_json_reply(text, PairVerdict)), target

    def check_replies(self, replies: Sequence[ParsedReply[tuple[Candidate, ...]]]) -> list[Candidate]:
        """Return the pairs of a round's replies that pass the checks of code; reject the others."""
        passed: list[Candidate] = []
        for reply, (domain, _) in zip(replies, self.wanted(), strict=True):
            if reply.value is None:
                name = f"{domain}-{self._n_asked}"
                self._rejects.append(Reject(id=name, by="author", reason=_failure(reply), text=reply.outcome.text))
                continue
            for pair in reply.value:
                fault = self._checks.form_fault(pair) or self._checks.repeat_fault(pair)
                if pair.key in self._seen:
                    fault = "was written before"
                self._seen.add(pair.key)
                if fault is None:
                    passed.append(pair)
                else:
                    self._reject(pair, "checks", fault)
        return passed

    def end_round(
        self,
        candidates: Sequence[Candidate],
        verdicts: Sequence[tuple[ParsedReply[PairVerdict], Literal["first", "second"]]],
    ) -> None:
        """Keep the judged pairs, unless the judge, a pair kept meanwhile or the lengths speak against one."""
        n_before, n_wanted = len(self.pairs), sum(n for _, n in self.wanted())
        for pair, (reply, target) in zip(candidates, verdicts, strict=True):
            fault = f"no verdict ({_failure(reply)})" if reply.value is None else reply.value.fault(target)
            if fault is not None:
                self._reject(pair, "judge", fault)
                continue
            fault = self._checks.repeat_fault(pair) or self._checks.length_fault(pair)
            if fault is None and pair.domain not in self._missing():
                fault = "its domain is full"
            if fault is not None:
                self._reject(pair, "checks", fault)
                continue
            self._checks.add(pair)
            self.pairs.append(pair)
        self._n_asked += n_wanted
        self._n_empty_rounds = 0 if len(self.pairs) > n_before else self._n_empty_rounds + 1

    def _reject(self, pair: Candidate, by: str, reason: str) -> None:
        self._rejects.append(Reject(id=pair.key, by=by, reason=reason, text=f"{pair.target} | {pair.other}"))

    def result(self) -> WrittenPairs:
        """Return the set, domain by domain; every item is searched for words of the train domain once more."""
        width = max(2, len(str(max(self._quota.values()))))
        items: list[Item] = []
        for domain in self._value.test_domains:
            stem = f"{self._value.value}-{'-'.join(domain.split())}"
            pairs = [pair for pair in self.pairs if pair.domain == domain]
            for number, pair in enumerate(pairs, start=1):
                name = f"{stem}-{number:0{width}d}"
                items.append(Item(id=name, set=self._value.value, domain=domain, options=(pair.target, pair.other)))
        return WrittenPairs(
            items=tuple(items),
            rejects=tuple(self._rejects),
            n_asked=self._n_asked,
            missing=self._missing(),
            n_words=len(self._words),
            words_found=words_found(items, self._words),
        )


def _failure(reply: ParsedReply[Any]) -> str:
    outcome = reply.outcome
    return f"{outcome.kind}: {outcome.note}" if outcome.note else outcome.kind
