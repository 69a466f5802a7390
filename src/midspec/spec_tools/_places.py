"""The places of a spec that are rewritten: what the author is asked about each, and how its reply is read."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from pydantic import Field

from midspec.core.errors import ConfigError, SpecError
from midspec.core.fingerprint import fingerprint
from midspec.core.records import Clause, Section, Spec, SpecTool, Strict
from midspec.core.text import n_words
from midspec.generation import PromptFolder
from midspec.llm import ModelConfig, Request, UnreadableReplyError, parse_json_reply, response_schema
from midspec.spec import parse_spec, placeholders, split_sentences
from midspec.spec_tools._clause_words import REASON
from midspec.spec_tools._edits import REWRITTEN_KINDS

_PROMPTS = PromptFolder("midspec.spec_tools")
_PROMPT_OF: dict[SpecTool, str] = {
    "augment-reasons": "reasons",
    "augment-subrules": "subrules",
    "ablate": "ablate",
    "generalize": "generalize",
    "anti-spec": "anti",
}
GROWS = frozenset(("augment-reasons", "augment-subrules"))
KEEPS_LENGTH = frozenset(("ablate", "anti-spec"))
# What is asked for is somewhat more than what is wanted, since trimming is surer than asking again.
ASKED_SHARE = 1.1
_MIN_ASKED_WORDS = 12
_SUBRULE_WORDS = (10, 25)
TAG = re.compile(r"</?[A-Za-z][^<>]*>")
"""A tag: weak models give those of the prompt back."""
_AROUND = "It is so."
_PLACEHOLDER = re.compile(r"\{\w+\}")
# A rewritten clause may be longer or shorter by this share of its words, and by three words in any case.
_SPREAD, _MIN_SPREAD = 0.2, 3


class SpecRewriting(Strict):
    """Settings of a rewriting.

    Attributes:
        tool: what is wanted.
        clauses: ids of the clauses that are rewritten, or titles of their sections; all of them by default.
        growth: of augment: the tokens of the result, as a multiple of the spec's, or of those clauses'.
        n_tokens: of augment: the tokens of the whole result instead.
        tolerance: the share by which the result may miss the length that is wanted.
        n_rounds: how often places that miss it are asked about, at most.
        max_tokens: cap of the author's reply; the first one fits what is asked for, if that is less.
    """

    tool: SpecTool
    clauses: tuple[str, ...] = ()
    growth: float = Field(default=3.0, gt=1)
    n_tokens: int | None = Field(default=None, ge=1)
    tolerance: float = Field(default=0.02, gt=0, lt=1)
    n_rounds: int = Field(default=3, ge=1)
    max_tokens: int = Field(default=4096, ge=1)


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
class Place:
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
    def is_whole(self) -> bool:
        """Return whether it holds all of its section that can be rewritten."""
        return len(self.clauses) == sum(clause.kind in REWRITTEN_KINDS for clause in self.section.clauses)

    @property
    def n_written(self) -> int:
        return sum(map(n_words, self.pieces))


class PlaceAsker:
    """Makes the requests about the places of a spec, and reads replies.

    Args:
        spec: the source, its placeholders unfilled.
        model: who writes; part of what identifies a request.
        config: what is wanted.
    """

    def __init__(self, spec: Spec, model: ModelConfig, config: SpecRewriting) -> None:
        self._spec, self._model, self._config = spec, model, config
        self.stage = f"spec.{_PROMPT_OF[config.tool]}"
        self.prefix = _PROMPTS.fill("spec", spec=spec.text.strip("\n"))

    def places(self) -> list[Place]:
        """Return the clauses, or sections, that are to be rewritten.

        Raises:
            ConfigError: the settings name what the spec does not have, or nothing in it can be rewritten.
        """
        wanted, used = set(self._config.clauses), set[str]()
        places = []
        for section in self._spec.sections:
            names = {section.id, section.title} & wanted
            clauses = tuple(clause for clause in section.clauses if clause.kind in REWRITTEN_KINDS)
            if wanted and not names:
                clauses = tuple(clause for clause in clauses if clause.id in wanted)
            used |= names | {clause.id for clause in clauses}
            groups = [clauses] if self._config.tool == "generalize" else [(clause,) for clause in clauses]
            places += [Place(section, group, sum(n_words(one.text) for one in group)) for group in groups if group]
        if unknown := sorted(wanted - used):
            hint = "`midspec spec show` lists ids and titles; tables, code and examples are not rewritten"
            raise ConfigError(f"there is no clause or section {unknown[0]!r} to rewrite", where="clauses", hint=hint)
        if not places:
            hint = "Give a spec with sentences or list items, or name others with --clauses"
            raise ConfigError("there is nothing to rewrite", where=self._spec.title, hint=hint)
        return places

    def request(self, place: Place, number: int) -> Request:
        """Make the request for a place; its task hashes all that makes its reply another one, the round included."""
        n = self.n_asked(place)
        least, most = _SUBRULE_WORDS
        where = " / ".join(filter(None, place.section.path)) or "(no heading)"
        is_clause = self._config.tool != "generalize"
        prompt = _PROMPTS.fill("clause", section=where, clause=place.before) if is_clause else ""
        prompt += _PROMPTS.fill(
            _PROMPT_OF[self._config.tool],
            section=place.section.title,
            clause=place.section.text.strip("\n") if place.is_whole else place.before,
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

    def n_asked(self, place: Place) -> int:
        """Return how many words a place's reply is asked to have."""
        is_growing = self._config.tool in GROWS
        return max(_MIN_ASKED_WORDS, round(place.n_wanted * ASKED_SHARE)) if is_growing else place.n_wanted

    @property
    def _form(self) -> _Form:
        if self._config.tool == "augment-reasons":
            return _Reasons
        return _Subrules if self._config.tool == "augment-subrules" else _Rewritten

    def _spread(self, place: Place) -> int:
        return max(_MIN_SPREAD, round(_SPREAD * place.n_wanted))

    def read(self, text: str, place: Place) -> list[str]:
        """Read a reply's pieces; none where the author leaves the place as it is.

        Raises:
            UnreadableReplyError: it is no JSON of the form, or would change the spec's structure, names or length.
        """
        pieces = parse_json_reply(text, self._form).pieces
        for piece in pieces:
            if fault := self._fault(piece):
                raise UnreadableReplyError(fault)
        if pieces and self._config.tool in KEEPS_LENGTH:
            n, spread = n_words(pieces[0]), self._spread(place)
            if abs(n - place.n_wanted) > spread:
                low, high = place.n_wanted - spread, place.n_wanted + spread
                raise UnreadableReplyError(f"it has {n} words and must have {low} to {high}")
        if (
            self._config.tool == "generalize"
            and pieces
            and n_words(pieces[0]) > 1.2 * place.n_wanted + _MIN_ASKED_WORDS
        ):
            raise UnreadableReplyError(f"it has {n_words(pieces[0])} words and must have at most {place.n_wanted}")
        if self._config.tool == "ablate" and pieces and (reason := REASON.search(pieces[0])):
            raise UnreadableReplyError(f"it still gives a reason: {reason[0].strip(' ,;')!r}")
        if self._config.tool != "generalize" and place.clauses[0].kind == "item":
            return pieces
        around = _AROUND if self._config.tool in ("generalize", "augment-subrules") else place.before
        if self._config.tool == "augment-reasons":
            return split_sentences(_set_apart(" ".join(pieces), around)) if pieces else []
        return [_set_apart(piece, around) for piece in pieces]

    def _fault(self, piece: str) -> str:
        """Return why a piece can't stand in the spec as one run of sentences, or an empty text."""
        try:
            read = parse_spec(piece)
        except SpecError as error:
            return f"it can't be read as text: {error.what}"
        kinds = {clause.kind for clause in read.clauses}
        is_marked = read.is_marked and not read.is_recut
        if kinds != {"sentence"} or len(read.sections) > 1 or read.sections[0].level or is_marked:
            return "it must be plain sentences, without headings, lists, tags or other mark-up"
        if unknown := sorted(set(placeholders(read)) - set(placeholders(self._spec))):
            return f"it holds {{{unknown[0]}}}, which the text does not"
        if tag := next((tag for tag in TAG.findall(piece) if tag not in self._spec.text), ""):
            return f"it holds {tag}, which the text does not"
        ours, theirs = (set(_PLACEHOLDER.sub("", text)) & {"{", "}"} for text in (self._spec.text, piece))
        if new := sorted(theirs - ours):
            return f"it holds {new[0]} outside a placeholder, which the text does not"
        bare = (name for name in placeholders(self._spec) if "_" in name and _is_bare(name, piece))
        if name := next((name for name in bare if not _is_bare(name, self._spec.text)), ""):
            return f"it holds {name} without braces"
        return ""


def _is_apart(text: str) -> tuple[bool, bool]:
    """Return whether a text is apart from a sentence before it, and from one behind it."""
    cut = split_sentences(f"{_AROUND} {text} {_AROUND}")
    return cut[0] == _AROUND, cut[-1] == _AROUND


def _set_apart(text: str, was: str) -> str:
    """Return a text that is as far apart from the sentences around it as the clause was: without a stop at its end, the
    next clause would be read as part of it.

    Raises:
        UnreadableReplyError: neither a stop nor a capital letter makes it so.
    """
    (begins, ends), (began, ended) = _is_apart(text), _is_apart(was)
    if began and not begins:
        text = text[:1].upper() + text[1:]
    if ended and not ends and text[-1] not in ".!?":  # an abbreviation's stop ends nothing, and two are none
        text += was[-1] if was[-1] in "。！？" else "."
    begins, ends = _is_apart(text)
    if (began and not begins) or (ended and not ends):
        raise UnreadableReplyError("it must be whole sentences: a capital letter at the beginning, a stop at the end")
    return text


def _is_bare(name: str, text: str) -> bool:
    return re.search(rf"\b{name}\b", _PLACEHOLDER.sub("", text)) is not None


def rendered(place: Place, tool: SpecTool) -> str:
    """Return what stands in a place's stead: additions come after the clause, subrules of an item as items below it."""
    if tool not in GROWS:
        return " ".join(place.pieces)
    before = place.before if re.search(r"[.!?…。！？][\"'”’)*_]*\s*$", place.before) else f"{place.before}."
    if tool == "augment-subrules" and place.clauses[0].kind == "item":
        return before + "".join(f"\n    - {piece}" for piece in place.pieces)
    return " ".join((before, *place.pieces))
