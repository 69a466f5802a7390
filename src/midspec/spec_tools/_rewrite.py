"""Variants of a spec, written by a language model place by place: reasons, subrules, ablated, general, opposite.

Each place is a clause, or for general principles a section. Where lengths are matched, a place that came out too short
or too long is asked about again, and what is still too much is trimmed by whole sentences or subrules.
"""

from __future__ import annotations

from math import ceil
from statistics import fmean
from typing import NamedTuple

from midspec.core.artifact import ProgressCallback
from midspec.core.errors import ConfigError
from midspec.core.fingerprint import fingerprint
from midspec.core.records import Provenance, Reject, Spec, SpecEdit
from midspec.core.text import TOKENS_PER_WORD, estimate_tokens, n_words
from midspec.generation import estimate_stage, gather
from midspec.llm import (
    Client,
    ModelConfig,
    ParsedReply,
    ReplyCaps,
    Request,
    StageEstimate,
    Store,
    UsableReplies,
    converse,
)
from midspec.spec_tools._edits import apply_edits
from midspec.spec_tools._places import ASKED_SHARE, GROWS, KEEPS_LENGTH, Place, PlaceAsker, SpecRewriting, rendered

_ID_LENGTH = 8


class RewrittenSpec(NamedTuple):
    """A proposal: its text with every edit taken, the edits, where each clause comes from, and what was not written.

    `n_tokens` is of the source, of the proposal and what was wanted (`None` where no length was).
    """

    text: str
    edits: tuple[SpecEdit, ...]
    provenance: tuple[Provenance, ...]
    rejects: tuple[Reject, ...]
    n_tokens: tuple[int, int, int | None]


async def rewrite_spec(
    spec: Spec,
    model: ModelConfig,
    client: Client,
    store: Store,
    config: SpecRewriting,
    *,
    on_progress: ProgressCallback | None = None,
    width: int = 50,
) -> RewrittenSpec:
    """Have a variant of a spec written, place by place, side by side; what `store` has is not paid for again.

    Args:
        spec: the source, its placeholders unfilled, so that the variant has them too.
        model: who writes; part of what identifies a request.
        client: answers requests of `model`, from the store first.
        store: where replies are kept.
        config: what is wanted.
        on_progress: is told (places answered for, of how many in this round, which round) after each reply.
        width: how many requests are wanted in flight at once.

    Raises:
        ConfigError: `config.clauses` names what the spec does not have, or nothing in it can be rewritten.
        MidspecError: what ends the whole run (a budget that is used up, a key that is refused).
    """
    rewriter = _Rewriter(spec, model, config)
    usable, caps = UsableReplies(store, where=model.model), ReplyCaps()
    for number in range(config.n_rounds):
        asked = rewriter.places if not number else rewriter.to_ask_again()
        if not asked:
            break

        def tell(n_done: int, n: int, note: str = f"round {number + 1} of at most {config.n_rounds}") -> None:
            if on_progress is not None:
                on_progress(n_done, n, note)

        async def ask(place: Place, number: int = number) -> tuple[Request, ParsedReply[list[str]]]:
            request = rewriter.asker.request(place, number)
            reply = await converse(
                client,
                store,
                request,
                lambda text: rewriter.asker.read(text, place),
                caps=caps,
                n_expected=round(rewriter.asker.n_asked(place) * TOKENS_PER_WORD),
            )
            usable.count(request, reply)
            return request, reply

        replies = await gather(ask, asked, width, on_done=tell)
        for place, (request, reply) in zip(asked, replies, strict=True):
            rewriter.take(place, request, reply)
        rewriter.share_out()
    rewriter.trim()
    return rewriter.result()


def estimate_rewriting(spec: Spec, model: ModelConfig, config: SpecRewriting) -> list[StageEstimate]:
    """Estimate the requests for a forecast: every place once, and one in four a second time where lengths are matched.

    Args:
        spec: the source.
        model: who writes.
        config: what is wanted.

    Raises:
        ConfigError: see `rewrite_spec`.
    """
    rewriter = _Rewriter(spec, model, config)
    n = len(rewriter.places)
    n_again = ceil(n / 4) if config.n_rounds > 1 and config.tool != "generalize" else 0
    prompt = fmean(estimate_tokens(rewriter.asker.request(place, 0).prompt) for place in rewriter.places)
    output = fmean(place.n_wanted for place in rewriter.places) * TOKENS_PER_WORD * ASKED_SHARE
    return [estimate_stage(rewriter.asker.stage, n + n_again, output, prefix=rewriter.asker.prefix, prompt=prompt)]


class _Rewriter:
    """Keeps what is written for places, and fits the whole to its length."""

    def __init__(self, spec: Spec, model: ModelConfig, config: SpecRewriting) -> None:
        self._spec, self._model, self._config = spec, model, config
        self._n_before = estimate_tokens(spec.text)
        self.asker = PlaceAsker(spec, model, config)
        self.places = self.asker.places()
        # `None` where the length is open.
        self._n_wanted = self._n_before if config.tool in KEEPS_LENGTH else None
        if config.tool in GROWS:
            chosen = sum(estimate_tokens(place.before) for place in self.places) if config.clauses else self._n_before
            self._n_wanted = config.n_tokens or round(self._n_before + (config.growth - 1) * chosen)
            if self._n_wanted <= self._n_before:
                what = f"{self._n_wanted:,} tokens are wanted, and the spec has {self._n_before:,}"
                raise ConfigError(what, where="n_tokens", hint="Ask for more")
        self.share_out()

    @property
    def _n_now(self) -> int:
        """Tokens of the whole with what is written so far."""
        change = sum(
            place.n_written - (0 if self._config.tool in GROWS else n_words(place.before))
            for place in self.places
            if place.pieces
        )
        return self._n_before + round(change * TOKENS_PER_WORD)

    def share_out(self) -> None:
        """Give each place its words: of augment an even share of what is wanted, over the places that take any."""
        if self._config.tool not in GROWS or self._n_wanted is None:
            return
        takers = [place for place in self.places if place.pieces] or self.places
        share = (self._n_wanted - self._n_before) / TOKENS_PER_WORD / len(takers)
        for place in takers:
            place.n_wanted = max(1, round(share))

    def to_ask_again(self) -> list[Place]:
        """Return the places that are to be asked about once more, so that the whole gets its length."""
        if self._n_wanted is None:
            return []
        missing = self._n_wanted - self._n_now
        written = [place for place in self.places if place.pieces]
        if self._config.tool in GROWS:
            is_short = missing > self._config.tolerance * self._n_wanted
            return [place for place in written if is_short and place.n_written < place.n_wanted]
        if abs(missing) <= self._config.tolerance * self._n_wanted:
            return []
        sign = 1 if missing > 0 else -1
        off = [(sign * (place.n_wanted - place.n_written), place) for place in written]
        worst = sorted((entry for entry in off if entry[0] > 0), key=lambda entry: -entry[0])
        return [place for _, place in worst[: max(1, len(worst) // 2)]]

    def take(self, place: Place, request: Request, reply: ParsedReply[list[str]]) -> None:
        """Keep a reply's pieces, of a second reply only where they come nearer to the length."""
        if reply.value is None:
            outcome = reply.outcome
            place.fault = place.fault or f"{outcome.kind}: {outcome.note}".removesuffix(": ")
            return
        n_new = sum(map(n_words, reply.value))
        if place.pieces:
            if not reply.value or abs(n_new - place.n_wanted) >= abs(place.n_written - place.n_wanted):
                return
            place.notes.append("asked again for its length")
        place.pieces, place.request = reply.value, request.task

    def trim(self) -> None:
        """Take whole pieces off the ends of the longest places while that brings the whole nearer to its length."""
        if self._config.tool not in GROWS or self._n_wanted is None:
            return
        while (over := self._n_now - self._n_wanted) > 0:
            # A piece of up to twice what is too much; the first of those whose place is the furthest over its share.
            cuts = [
                (place.n_written - place.n_wanted, -at)
                for at, place in enumerate(self.places)
                if len(place.pieces) > 1 and n_words(place.pieces[-1]) * TOKENS_PER_WORD < 2 * over
            ]
            if not cuts:
                break
            place = self.places[-max(cuts)[1]]
            place.pieces = place.pieces[:-1]
            if "trimmed" not in place.notes:
                place.notes.append("trimmed")

    def result(self) -> RewrittenSpec:
        """Return the proposal with every edit taken."""
        is_growing = self._config.tool in GROWS
        edits = tuple(
            self._edit(place)
            for place in self.places
            if place.pieces and (is_growing or " ".join(place.pieces).split() != place.before.split())
        )
        text, provenance = apply_edits(self._spec, edits)
        rejects = tuple(
            Reject(id=place.clauses[0].id, by="author", reason=place.fault, text=place.before)
            for place in self.places
            if place.fault and not place.pieces
        )
        counts = (self._n_before, estimate_tokens(text), self._n_wanted)
        return RewrittenSpec(text, edits, provenance, rejects, counts)

    def _edit(self, place: Place) -> SpecEdit:
        after = rendered(place, self._config.tool)
        ids = tuple(clause.id for clause in place.clauses)
        is_section = self._config.tool == "generalize" and len(place.clauses) == len(place.section.clauses)
        return SpecEdit(
            id=fingerprint([place.section.id, ids, after])[:_ID_LENGTH],
            section_id=place.section.id,
            section=" > ".join(filter(None, place.section.path)),
            clause_ids=ids,
            before=place.section.text.strip("\n") if is_section else place.before,
            after=after,
            tool=self._config.tool,
            author=self._model.model,
            request=place.request,
            note=", ".join(dict.fromkeys(place.notes)),
        )
