"""Held-out pairs for a value, written by one model and judged by another: asked, checked, judged, topped up.

In: a value with its domains, an author and a judge behind `llm`, and words of the train domain. Out: items in even
numbers from each test domain, and rejects with reasons. It goes in waves: all domains that are short are asked at once,
what comes is checked in a fixed order, what passes is judged at once. So the same replies give the same set, and a run
that was stopped replays from the store what was answered.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal, TypeVar

from midspec.core.errors import ConfigError, DataError
from midspec.core.progress import ProgressCallback
from midspec.core.records import Item, Reject
from midspec.eval_items._pair_checks import (
    Candidate,
    Opinion,
    PairChecks,
    PairWritingConfig,
    WrittenPairs,
    pairs_request,
    read_pairs,
    verdict_request,
)
from midspec.evals.tasks.preference._sets import VALUES, ValueSet, value_set, words_found
from midspec.generation import Pool
from midspec.llm import Client, ParsedReply, Store, converse, parse_json_reply

_In = TypeVar("_In")
_Out = TypeVar("_Out")
# Pairs are asked for as if at least this share were kept, so that one bad wave does not ask for a thousand.
_LEAST_RATE = 0.1
# After so many waves in a row that brought nothing, more of them would not either.
_MOST_BARREN = 3


async def write_pairs(
    value: ValueSet,
    config: PairWritingConfig,
    author: Client,
    judging: Client,
    store: Store,
    *,
    forbidden: Sequence[str] = (),
    others: Sequence[ValueSet] | None = None,
    on_progress: ProgressCallback | None = None,
    width: int = 20,
) -> WrittenPairs:
    """Write a set for any value over its test domains; the domains in `opinion_domains` get pairs of opinions.

    A pair is dropped where its wording gives the value away, where the judge (who isn't told which option is the
    target) would not pick the target, where another value decides as well, where it repeats another, where a word of
    the train domain stands in it, or where the lengths would come to tell the target. So is what is unclear.

    Args:
        value: its row; need not be one of `VALUES`.
        config: how many, by which models.
        author: answers requests of `config.author`.
        judging: answers requests of `config.judge`; opened for the duty `judge`.
        store: keeps every reply, so that none is paid for twice.
        forbidden: words that must not appear, beside `value.train_words`: terms of the training rows, say.
        others: values that a pair must not test as well; the shipped ones but `value` by default.
        on_progress: is told (kept, of how many, what) after each wave.
        width: how many requests are wanted in flight at once.

    Raises:
        ConfigError: fewer items are wanted than there are test domains, or the train domain is one of them.
        DataError: a word of the train domain stands in the name of a test domain.
        MidspecError: what ends the run (the budget is used up, the key is refused).
    """
    rivals = [value_set(name) for name in VALUES if name != value.value] if others is None else list(others)
    words = check_wanted(value, config, forbidden)
    line = _Line(value, config, rivals, words, width)
    while line.goes_on:
        await line.wave(author, judging, store)
        if on_progress is not None:
            on_progress(len(line.kept), config.n_items, f"pairs for {value.value}")
    return line.written()


def check_wanted(value: ValueSet, config: PairWritingConfig, forbidden: Sequence[str] = ()) -> tuple[str, ...]:
    """Refuse a set that can't be held out, or even; gives the words that may stand in no pair.

    Raises:
        ConfigError: fewer items are wanted than there are test domains, or the train domain is one of them.
        DataError: a word of the train domain stands in the name of a test domain.
    """
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


class _Line:
    """One set in the making."""

    def __init__(
        self, value: ValueSet, config: PairWritingConfig, others: Sequence[ValueSet], words: Sequence[str], width: int
    ) -> None:
        self._value, self._config, self._others, self._words = value, config, others, words
        self._width = width
        self._checks = PairChecks(value, words, most_uses=config.most_uses, similarity=config.similarity)
        each, rest = divmod(config.n_items, len(value.test_domains))
        self._quota = {domain: each + (at < rest) for at, domain in enumerate(value.test_domains)}
        self._rejects: list[Reject] = []
        self._seen: set[str] = set()
        self._n_asked = self._n_barren = 0
        self.kept: list[Candidate] = []

    @property
    def goes_on(self) -> bool:
        """Whether another wave is wanted and may help."""
        most = self._config.most_asked * self._config.n_items
        return bool(self._missing()) and self._n_asked < most and self._n_barren < _MOST_BARREN

    def _missing(self) -> dict[str, int]:
        have = Counter(pair.domain for pair in self.kept)
        return {domain: n - have[domain] for domain, n in self._quota.items() if n > have[domain]}

    async def wave(self, author: Client, judging: Client, store: Store) -> None:
        """Ask for what is missing, and keep of it what passes."""
        before = len(self.kept)
        wanted = self._wanted()

        async def ask(entry: tuple[str, int]) -> ParsedReply[tuple[Candidate, ...]]:
            domain, n = entry
            shown = [pair.text for pair in self.kept if pair.domain == domain]
            request = pairs_request(self._value, domain, n, shown, self._checks.drift, self._config)
            # A domain that got nothing asks in the same words again; the wave tells the two draws apart.
            request = request.model_copy(update={"task": f"{request.task}-{self._n_asked}"})
            return await converse(author, store, request, lambda text: read_pairs(text, domain))

        replies = await self._together(ask, wanted)
        fresh = self._fresh(replies, wanted)

        async def judge(pair: Candidate) -> tuple[ParsedReply[Opinion], Literal["first", "second"]]:
            request, target = verdict_request(self._value, pair, self._others, self._config)
            return await converse(judging, store, request, lambda text: parse_json_reply(text, Opinion)), target

        for pair, (said, target) in zip(fresh, await self._together(judge, fresh), strict=True):
            self._settle(pair, said, target)
        self._n_asked += sum(n for _, n in wanted)
        self._n_barren = 0 if len(self.kept) > before else self._n_barren + 1

    def _wanted(self) -> list[tuple[str, int]]:
        """How many pairs to ask for in each domain, by the share that was kept so far."""
        rate = max(_LEAST_RATE, (len(self.kept) + 1) / (self._n_asked + 1))
        most = self._config.n_at_once
        return [(domain, min(most, math.ceil(n / min(1.0, rate)))) for domain, n in self._missing().items()]

    async def _together(self, run: Callable[[_In], Awaitable[_Out]], entries: Sequence[_In]) -> list[_Out]:
        """The results of `run` for all entries, in their order."""
        found: dict[int, _Out] = {}
        pool = Pool(self._width)

        def piece(at: int, entry: _In) -> Callable[[], Awaitable[None]]:
            async def work() -> None:
                found[at] = await run(entry)

            return work

        for at, entry in enumerate(entries):
            pool.add(piece(at, entry))
        await pool.run()
        return [found[at] for at in range(len(entries))]

    def _fresh(
        self, replies: Sequence[ParsedReply[tuple[Candidate, ...]]], wanted: Sequence[tuple[str, int]]
    ) -> list[Candidate]:
        """The pairs of the replies that a program finds nothing against."""
        fresh: list[Candidate] = []
        for said, (domain, _) in zip(replies, wanted, strict=True):
            if said.value is None:
                name = f"{domain}-{self._n_asked}"
                self._rejects.append(Reject(id=name, by="author", reason=_why(said), text=said.outcome.text))
                continue
            for pair in said.value:
                fault = self._checks.form_fault(pair) or self._checks.repeat_fault(pair)
                if pair.key in self._seen:
                    fault = "was written before"
                self._seen.add(pair.key)
                if fault is None:
                    fresh.append(pair)
                else:
                    self._reject(pair, "checks", fault)
        return fresh

    def _settle(self, pair: Candidate, said: ParsedReply[Opinion], target: Literal["first", "second"]) -> None:
        """Keep a judged pair, unless the judge, a pair kept meanwhile or the length speaks against it."""
        fault = f"no verdict ({_why(said)})" if said.value is None else said.value.fault(target)
        if fault is not None:
            self._reject(pair, "judge", fault)
            return
        fault = self._checks.repeat_fault(pair) or self._checks.length_fault(pair)
        if fault is None and pair.domain not in self._missing():
            fault = "its domain is full"
        if fault is not None:
            self._reject(pair, "checks", fault)
            return
        self._checks.add(pair)
        self.kept.append(pair)

    def _reject(self, pair: Candidate, by: str, reason: str) -> None:
        self._rejects.append(Reject(id=pair.key, by=by, reason=reason, text=f"{pair.target} | {pair.other}"))

    def written(self) -> WrittenPairs:
        """What came of it, domain by domain; every item looked through for the words once more."""
        width = max(2, len(str(max(self._quota.values()))))
        items: list[Item] = []
        for domain in self._value.test_domains:
            stem = f"{self._value.value}-{'-'.join(domain.split())}"
            pairs = [pair for pair in self.kept if pair.domain == domain]
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


def _why(said: ParsedReply[_Out]) -> str:
    outcome = said.outcome
    return f"{outcome.kind}: {outcome.note}" if outcome.note else outcome.kind
