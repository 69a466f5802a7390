"""Variants of a spec, written by a language model place by place: reasons, subrules, ablated, general, opposite.

Each place is a clause, or for general principles a section. Where lengths are matched, a place that came out too short
or too long is asked about again, and what is still too much is trimmed by whole sentences or subrules.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from math import ceil
from statistics import fmean
from typing import NamedTuple

from pydantic import Field

from midspec.core.artifact import ProgressCallback
from midspec.core.errors import ConfigError, SpecError
from midspec.core.fingerprint import fingerprint
from midspec.core.records import Clause, Provenance, Reject, Section, Spec, SpecEdit, SpecTool, Strict
from midspec.core.text import TOKENS_PER_WORD, estimate_tokens, n_words
from midspec.generation import PromptFolder, estimate_stage, gather
from midspec.llm import (
    Client,
    ModelConfig,
    ParsedReply,
    Request,
    StageEstimate,
    Store,
    UnreadableReplyError,
    UsableReplies,
    converse,
    parse_json_reply,
    response_schema,
)
from midspec.spec import parse_spec, placeholders, split_sentences
from midspec.spec_tools._clause_words import REASON
from midspec.spec_tools._edits import REWRITTEN_KINDS, apply_edits

_PROMPTS = PromptFolder("midspec.spec_tools")
_PROMPT_OF: dict[SpecTool, str] = {
    "augment-reasons": "reasons",
    "augment-subrules": "subrules",
    "ablate": "ablate",
    "generalize": "generalize",
    "anti-spec": "anti",
}
_GROWS = frozenset(("augment-reasons", "augment-subrules"))
_KEEPS_LENGTH = frozenset(("ablate", "anti-spec"))
# What is asked for is somewhat more than what is wanted, since trimming is surer than asking again.
_ASKED_SHARE = 1.1
_MIN_ASKED_WORDS = 12
_SUBRULE_WORDS = (10, 25)
# A rewritten clause may be longer or shorter by this share of its words, and by three words in any case.
_SPREAD, _MIN_SPREAD = 0.2, 3
_ID_LENGTH = 8


class SpecRewriting(Strict):
    """Settings of a rewriting.

    Attributes:
        tool: what is wanted.
        clauses: ids of the clauses that are rewritten, or titles of their sections; all of them by default.
        growth: of augment: the tokens of the result, as a multiple of those of what is augmented.
        n_tokens: of augment: the tokens of the whole result instead.
        tolerance: the share by which the result may miss the length that is wanted.
        n_rounds: how often places that miss it are asked about, at most.
        max_tokens: cap of the author's reply.
    """

    tool: SpecTool
    clauses: tuple[str, ...] = ()
    growth: float = Field(default=3.0, gt=1)
    n_tokens: int | None = Field(default=None, ge=1)
    tolerance: float = Field(default=0.02, gt=0, lt=1)
    n_rounds: int = Field(default=3, ge=1)
    max_tokens: int = Field(default=4096, ge=1)


class RewrittenSpec(NamedTuple):
    """A proposal: its text with every edit taken, the edits, where each clause comes from, and what was not written.

    `n_tokens` is of the source, of the proposal and what was wanted (`None` where no length was).
    """

    text: str
    edits: tuple[SpecEdit, ...]
    provenance: tuple[Provenance, ...]
    rejects: tuple[Reject, ...]
    n_tokens: tuple[int, int, int | None]


# The schemas sent to providers name the fields of these.
class _Reasons(Strict):
    reasons: str

    @property
    def pieces(self) -> list[str]:
        return split_sentences(" ".join(self.reasons.split()))


class _Subrules(Strict):
    subrules: tuple[str, ...]

    @property
    def pieces(self) -> list[str]:
        return [" ".join(rule.split()) for rule in self.subrules if rule.strip()]


class _Rewritten(Strict):
    text: str

    @property
    def pieces(self) -> list[str]:
        return [" ".join(self.text.split())] if self.text.strip() else []


_Form = type[_Reasons] | type[_Subrules] | type[_Rewritten]


@dataclass
class _Place:
    """One place of the spec that is rewritten, and what there is for it so far; `n_wanted` is in words."""

    section: Section
    clauses: tuple[Clause, ...]
    n_wanted: int
    pieces: list[str] = field(default_factory=list)
    request: str = ""
    fault: str = ""
    notes: list[str] = field(default_factory=list)

    @property
    def before(self) -> str:
        return " ".join(clause.text for clause in self.clauses)

    @property
    def n_written(self) -> int:
        return sum(map(n_words, self.pieces))


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
    usable = UsableReplies(store, where=model.model)
    for number in range(config.n_rounds):
        asked = rewriter.places if not number else rewriter.to_ask_again()
        if not asked:
            break

        def tell(n_done: int, n: int, note: str = f"round {number + 1} of at most {config.n_rounds}") -> None:
            if on_progress is not None:
                on_progress(n_done, n, note)

        async def ask(place: _Place, number: int = number) -> tuple[Request, ParsedReply[list[str]]]:
            request = rewriter.request(place, number)
            reply = await converse(client, store, request, lambda text: rewriter.read(text, place))
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
    prompt = fmean(estimate_tokens(rewriter.request(place, 0).prompt) for place in rewriter.places)
    output = fmean(place.n_wanted for place in rewriter.places) * TOKENS_PER_WORD * _ASKED_SHARE
    return [estimate_stage(rewriter.stage, n + n_again, output, prefix=rewriter.prefix, prompt=prompt)]


class _Rewriter:
    """Makes requests for places, reads replies, and fits the whole to its length."""

    def __init__(self, spec: Spec, model: ModelConfig, config: SpecRewriting) -> None:
        self._spec, self._model, self._config = spec, model, config
        self.stage = f"spec.{_PROMPT_OF[config.tool]}"
        self.prefix = _PROMPTS.fill("spec", spec=spec.text.strip("\n"))
        self._n_before = estimate_tokens(spec.text)
        self.places = self._make_places()
        if not self.places:
            hint = "Give a spec with sentences or list items, or name others with --clauses"
            raise ConfigError("there is nothing to rewrite", where=spec.title, hint=hint)
        self._n_wanted = self._wanted_tokens()
        self.share_out()

    def _make_places(self) -> list[_Place]:
        """Return the clauses, or sections, that are to be rewritten."""
        wanted, used = set(self._config.clauses), set[str]()
        places = []
        for section in self._spec.sections:
            names = {section.id, section.title} & wanted
            clauses = tuple(clause for clause in section.clauses if clause.kind in REWRITTEN_KINDS)
            if wanted and not names:
                clauses = tuple(clause for clause in clauses if clause.id in wanted)
            used |= names | {clause.id for clause in clauses}
            groups = [clauses] if self._config.tool == "generalize" else [(clause,) for clause in clauses]
            places += [_Place(section, group, sum(n_words(one.text) for one in group)) for group in groups if group]
        if unknown := sorted(wanted - used):
            hint = "`midspec spec show` lists ids and titles; tables, code and examples are not rewritten"
            raise ConfigError(f"there is no clause or section {unknown[0]!r} to rewrite", where="clauses", hint=hint)
        return places

    def _wanted_tokens(self) -> int | None:
        """Return how many tokens the whole is to have; `None` where that is open."""
        if self._config.tool in _KEEPS_LENGTH:
            return self._n_before
        if self._config.tool not in _GROWS:
            return None
        chosen = sum(estimate_tokens(place.before) for place in self.places)
        wanted = self._config.n_tokens or round(self._n_before + (self._config.growth - 1) * chosen)
        if wanted <= self._n_before:
            what = f"{wanted:,} tokens are wanted, and the spec has {self._n_before:,}"
            raise ConfigError(what, where="n_tokens", hint="Ask for more")
        return wanted

    @property
    def _n_now(self) -> int:
        """Tokens of the whole with what is written so far."""
        change = sum(
            place.n_written - (0 if self._config.tool in _GROWS else n_words(place.before))
            for place in self.places
            if place.pieces
        )
        return self._n_before + round(change * TOKENS_PER_WORD)

    def share_out(self) -> None:
        """Give each place its words: of augment an even share of what is wanted, over the places that take any."""
        if self._config.tool not in _GROWS or self._n_wanted is None:
            return
        takers = [place for place in self.places if place.pieces] or self.places
        share = (self._n_wanted - self._n_before) / TOKENS_PER_WORD / len(takers)
        for place in takers:
            place.n_wanted = max(1, round(share))

    def to_ask_again(self) -> list[_Place]:
        """Return the places that are to be asked about once more, so that the whole gets its length."""
        if self._n_wanted is None:
            return []
        missing = self._n_wanted - self._n_now
        written = [place for place in self.places if place.pieces]
        if self._config.tool in _GROWS:
            is_short = missing > self._config.tolerance * self._n_wanted
            return [place for place in written if is_short and place.n_written < place.n_wanted]
        if abs(missing) <= self._config.tolerance * self._n_wanted:
            return []
        sign = 1 if missing > 0 else -1
        off = [(sign * (place.n_wanted - place.n_written), place) for place in written]
        worst = sorted((entry for entry in off if entry[0] > 0), key=lambda entry: -entry[0])
        return [place for _, place in worst[: max(1, len(worst) // 2)]]

    def request(self, place: _Place, number: int) -> Request:
        """Make the request for a place; its task hashes all that makes its reply another one, the round included."""
        is_growing = self._config.tool in _GROWS
        n = max(_MIN_ASKED_WORDS, round(place.n_wanted * _ASKED_SHARE)) if is_growing else place.n_wanted
        least, most = _SUBRULE_WORDS
        where = " / ".join(filter(None, place.section.path)) or "(no heading)"
        is_clause = self._config.tool != "generalize"
        prompt = _PROMPTS.fill("clause", section=where, clause=place.before) if is_clause else ""
        prompt += _PROMPTS.fill(
            _PROMPT_OF[self._config.tool],
            section=place.section.title,
            clause=place.section.text.strip("\n"),
            n=str(n),
            each=str(least),
            most=str(most),
            spread=str(self._spread(place)),
        )
        if place.pieces:
            way = "shorter" if place.n_written < place.n_wanted else "longer"
            prompt += "\n" + _PROMPTS.fill("again", before="\n".join(place.pieces), n=str(n), way=way)
        form = response_schema(self._form)
        return Request(
            task=fingerprint([self.stage, self._model, self.prefix, prompt, form, number]),
            stage=self.stage,
            prompt=prompt,
            prefix=self.prefix,
            max_tokens=self._config.max_tokens,
            cap_setting="max_tokens",
            form=form,
        )

    @property
    def _form(self) -> _Form:
        return {"augment-reasons": _Reasons, "augment-subrules": _Subrules}.get(self._config.tool, _Rewritten)

    def _spread(self, place: _Place) -> int:
        return max(_MIN_SPREAD, round(_SPREAD * place.n_wanted))

    def read(self, text: str, place: _Place) -> list[str]:
        """Read a reply's pieces; none where the author leaves the place as it is.

        Raises:
            UnreadableReplyError: it is no JSON of the form, or would change the spec's structure, names or length.
        """
        pieces = parse_json_reply(text, self._form).pieces
        for piece in pieces:
            if fault := self._fault(piece):
                raise UnreadableReplyError(fault)
        if pieces and self._config.tool in _KEEPS_LENGTH:
            n, spread = n_words(pieces[0]), self._spread(place)
            if abs(n - place.n_wanted) > spread:
                low, high = place.n_wanted - spread, place.n_wanted + spread
                raise UnreadableReplyError(f"it has {n} words and must have {low} to {high}")
        if self._config.tool == "ablate" and pieces and (reason := REASON.search(pieces[0])):
            raise UnreadableReplyError(f"it still gives a reason: {reason[0].strip(' ,;')!r}")
        return pieces

    def _fault(self, piece: str) -> str:
        """Return why a piece can't stand in the spec as one run of sentences, or an empty text."""
        try:
            read = parse_spec(piece)
        except SpecError as error:
            return f"it can't be read as text: {error.what}"
        kinds = {clause.kind for clause in read.clauses}
        if kinds != {"sentence"} or len(read.sections) > 1 or read.sections[0].level or read.is_marked:
            return "it must be plain sentences, without headings, lists, tags or other mark-up"
        if unknown := sorted(set(placeholders(read)) - set(placeholders(self._spec))):
            return f"it holds {{{unknown[0]}}}, which the text does not"
        return ""

    def take(self, place: _Place, request: Request, reply: ParsedReply[list[str]]) -> None:
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
        """Take whole pieces off the ends of the longest places until the whole has its length, or would fall short."""
        if self._config.tool not in _GROWS or self._n_wanted is None:
            return
        high, low = ((1 + sign * self._config.tolerance) * self._n_wanted for sign in (1, -1))
        while (now := self._n_now) > high:
            cuts = [
                (now - n_words(place.pieces[-1]) * TOKENS_PER_WORD, place)
                for place in self.places
                if len(place.pieces) > 1
            ]
            safe = [
                (place.n_written - place.n_wanted, after, at) for at, (after, place) in enumerate(cuts) if after >= low
            ]
            if not safe:
                break
            place = cuts[max(safe)[2]][1]
            place.pieces = place.pieces[:-1]
            if "trimmed" not in place.notes:
                place.notes.append("trimmed")

    def result(self) -> RewrittenSpec:
        """Return the proposal with every edit taken."""
        edits = tuple(self._edit(place) for place in self.places if place.pieces and not self._is_unchanged(place))
        text, provenance = apply_edits(self._spec, edits)
        rejects = tuple(
            Reject(id=place.clauses[0].id, by="author", reason=place.fault, text=place.before)
            for place in self.places
            if place.fault and not place.pieces
        )
        counts = (self._n_before, estimate_tokens(text), self._n_wanted)
        return RewrittenSpec(text, edits, provenance, rejects, counts)

    def _is_unchanged(self, place: _Place) -> bool:
        return self._config.tool not in _GROWS and " ".join(place.pieces).split() == place.before.split()

    def _edit(self, place: _Place) -> SpecEdit:
        after = _render(place, self._config.tool)
        ids = tuple(clause.id for clause in place.clauses)
        return SpecEdit(
            id=fingerprint([place.section.id, ids, after])[:_ID_LENGTH],
            section_id=place.section.id,
            section=" > ".join(filter(None, place.section.path)),
            clause_ids=ids,
            before=place.section.text.strip("\n") if self._config.tool == "generalize" else place.before,
            after=after,
            tool=self._config.tool,
            author=self._model.model,
            request=place.request,
            note=", ".join(dict.fromkeys(place.notes)),
        )


def _render(place: _Place, tool: SpecTool) -> str:
    """Return what stands in a place's stead: additions come after the clause, subrules of an item as items below it."""
    if tool not in _GROWS:
        return " ".join(place.pieces)
    before = place.before if re.search(r"[.!?…。！？][\"'”’)*_]*\s*$", place.before) else f"{place.before}."
    if tool == "augment-subrules" and place.clauses[0].kind == "item":
        return before + "".join(f"\n    - {piece}" for piece in place.pieces)
    return " ".join((before, *place.pieces))
