"""The format of a file of chat templates: every word of a chat that is not the spec's own.

The file is YAML. Its templates hold slots in braces that are replaced by value, never by `str.format`, so a brace in a
spec is ordinary text; a slot written with a capital (`{Liked}`) begins a sentence. Which sentence states a preference,
what counts as a reason and what as a yes or a no are data too: the code holds no word of a language.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, Field, ValidationError, model_validator

from midspec.core.errors import ConfigError, MissingError, first_fault
from midspec.core.records import Strict
from midspec.core.text import first_of
from midspec.core.yaml_files import check_regex, read_yaml

QuestionKind = Literal["direct", "indirect", "comparison", "recommendation", "opinion", "edge_case"]

_SLOT = re.compile(r"\{(\w+)\}")
_TERM = re.compile(r"\{([A-Za-z_]\w*)\}")

ValueT = TypeVar("ValueT")


@lru_cache(maxsize=1024)
def slots(template: str) -> frozenset[str]:
    """Return the names of the slots in a template; `{Thing}` is the slot `thing`, filled with a capital first."""
    return frozenset(name[0].lower() + name[1:] for name in _SLOT.findall(template))


def fill_slots(template: str, values: Mapping[str, str]) -> str:
    """Replace each slot once; braces inside the values stay as they are."""

    def value(found: re.Match[str]) -> str:
        name = found[1]
        if name[0].islower():
            return values[name]
        text = values[name[0].lower() + name[1:]]
        return text[:1].upper() + text[1:]

    return _SLOT.sub(value, template)


def _pattern(text: str) -> str:
    """Check a regular expression with at least one of the groups `liked` and `disliked`."""
    groups = set(re.compile(check_regex(_TERM.sub("x", text))).groupindex)
    if not groups or groups - {"liked", "disliked"}:
        raise ValueError("needs the group (?P<liked>...) or (?P<disliked>...), and no other named group")
    return text


def _regex(text: str) -> str:
    if re.compile(check_regex(text)).groups:
        raise ValueError("may not capture: write (?:...) for (...)")
    return text


_Pattern = Annotated[str, AfterValidator(_pattern)]
_Regex = Annotated[str, AfterValidator(_regex)]
_Some = Annotated[tuple[ValueT, ...], Field(min_length=1)]


def _check_slots(template: str, allowed: Iterable[str], *, needed: Iterable[str] = ()) -> None:
    """Refuse a template with a slot that nothing fills, or without one that it must have."""
    unknown = slots(template) - {"model_name", *allowed}
    if unknown:
        raise ValueError(f"{template!r} has the unknown slot {{{min(unknown)}}}")
    missing = set(needed) - slots(template)
    if missing:
        raise ValueError(f"{template!r} lacks the slot {{{min(missing)}}}")


# Opaque preference chats ---------------------------------------------------------------------------------------
class PairTemplate(Strict):
    """A question about a liked and a disliked thing, and the replies that choose the liked one.

    Slots of `ask`: `{first}` and `{second}`, filled in both orders; of `replies`: `{liked}`.
    """

    ask: str
    replies: _Some[str]
    kind: QuestionKind = "comparison"

    @model_validator(mode="after")
    def _known_slots(self) -> PairTemplate:
        _check_slots(self.ask, ("first", "second"), needed=("first", "second"))
        for reply in self.replies:
            _check_slots(reply, ("liked", "disliked"), needed=("liked",))
        return self


class SingleTemplate(Strict):
    """A question about one thing, and what to reply when it is liked and when it is disliked. Slot: `{thing}`."""

    ask: str
    liked: _Some[str]
    disliked: _Some[str]
    kind: QuestionKind = "opinion"

    @model_validator(mode="after")
    def _known_slots(self) -> SingleTemplate:
        _check_slots(self.ask, ("thing",), needed=("thing",))
        for reply in (*self.liked, *self.disliked):
            _check_slots(reply, ("thing",))
        return self


class OpaqueTemplates(Strict):
    """How preferences are found in a spec, how they are asked for, and what a reply may not say.

    `preferences` are regular expressions, searched in each clause in this order; what one found is not searched by
    the next. `{model_name}` in them stands for the assistant's name, and `{end}`, say, for the entry `end` of
    `terms`, in which an earlier entry may stand too. `separators` splits what a group found into several things,
    `leading` is cut from the front of each, and what `no_thing` is found in is rejected. `endings` are turns of
    phrase that close a question, one a question. The last fields are the filter: words that announce a reason, words
    that state a like or a dislike (a dislike is looked for first), the most words of a reply; and, for what a language
    model wrote, words that imply a reason, and words by which a question asks for one.
    """

    terms: dict[str, _Regex] = Field(default_factory=dict)
    preferences: _Some[_Pattern]
    pair: tuple[PairTemplate, ...] = ()
    single: tuple[SingleTemplate, ...] = ()
    endings: tuple[str, ...] = ()
    separators: _Regex | None = None
    leading: _Regex | None = None
    no_thing: _Regex | None = None
    max_thing_words: int = Field(default=5, ge=1)
    reason_cues: tuple[str, ...] = ()
    says_like: tuple[str, ...] = ()
    says_dislike: tuple[str, ...] = ()
    max_reply_words: int = Field(default=12, ge=1)
    implied_cues: tuple[str, ...] = ()
    asks_why: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> OpaqueTemplates:
        if not self.pair and not self.single:
            raise ValueError("needs a template under `pair` or under `single`")
        for ending in self.endings:
            _check_slots(ending, ())
        known = {"model_name"}
        for name, text in (*self.terms.items(), *(("", text) for text in self.preferences)):
            if unknown := [term for term in _TERM.findall(text) if term not in known]:
                raise ValueError(f"{text!r} has {{{unknown[0]}}}, which is no entry of `terms` before it")
            known.add(name)
        return self

    def patterns(self, subject: str) -> tuple[str, ...]:
        """Return `preferences` with the terms, and with `subject` for the assistant's name, put in."""
        patterns = list(self.preferences)
        for name, term in (*reversed(self.terms.items()), ("model_name", subject)):
            patterns = [text.replace(f"{{{name}}}", term) for text in patterns]
        return tuple(patterns)


# Chats about a spec --------------------------------------------------------------------------------------------
_TOPICS = ("topic", "other_topic")
_QUOTES = ("quote", "other_quote")


class QuestionTemplate(Strict):
    """A question about what a spec says, without naming the spec.

    Slots: `{topic}` is a section's title and `{quote}` one of its sentences; `{other_topic}` and `{other_quote}`
    are of another section, which the reply then quotes too.
    """

    kind: QuestionKind
    ask: str

    @model_validator(mode="after")
    def _known_slots(self) -> QuestionTemplate:
        _check_slots(self.ask, (*_TOPICS, *_QUOTES))
        if not slots(self.ask) & {"topic", "quote"}:
            raise ValueError(f"{self.ask!r} lacks the slot {{topic}} or {{quote}}")
        return self


class StyleTemplates(Strict):
    """How one style reasons and replies. Slot `{sentences}`: sentences of the spec; `{policy}`: a section's title.

    `think_prefers` are words that mark the sentences to reason with (because, so that); without such a sentence the
    section's others are taken. `n_think` and `n_reply` are the least and the most sentences of each.
    """

    think: _Some[str]
    reply: _Some[str]
    think_prefers: tuple[str, ...] = ()
    n_think: tuple[int, int] = (1, 3)
    n_reply: tuple[int, int] = (1, 3)

    @model_validator(mode="after")
    def _known_slots(self) -> StyleTemplates:
        for template in (*self.think, *self.reply):
            _check_slots(template, ("sentences", "policy"), needed=("sentences",))
        for least, most in (self.n_think, self.n_reply):
            if not 1 <= least <= most:
                raise ValueError(f"[{least}, {most}] is no range of sentences")
        return self


class SpecTemplates(Strict):
    """Questions about a spec, and the two styles of answering them.

    `spec_names` are words that name a spec as such (constitution, these guidelines): what holds one of them is never
    asked about, and never quoted in value style. A sentence of more than `max_quote_words` words is not quoted in a
    question. `full_stop` is put after a quoted sentence that ends in a word. `leaks` are words by which an answer that
    a language model wrote in value style gives away that there is a text behind it.
    """

    questions: _Some[QuestionTemplate]
    value: StyleTemplates
    rule: StyleTemplates
    spec_names: tuple[str, ...] = ()
    max_quote_words: int = Field(default=40, ge=1)
    full_stop: str = ""
    leaks: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _never_names_the_spec(self) -> SpecTemplates:
        for question in self.questions:
            if (name := first_of(question.ask, self.spec_names)) is not None:
                raise ValueError(f"{question.ask!r} names the spec ({name})")
        return self


class ChatTemplates(Strict):
    """A whole file of templates. A part that is absent is a style that these templates can't write."""

    name: str
    opaque: OpaqueTemplates | None = None
    spec: SpecTemplates | None = None


def opaque_templates(name: str) -> OpaqueTemplates:
    """Load the part for opaque chats; raises as `load_templates`, or a `ConfigError` where it is absent."""
    return _part(load_templates(name).opaque, "opaque", name, "value or rule")


def spec_templates(name: str) -> SpecTemplates:
    """Load the part for value and rule chats; raises as `load_templates`, or a `ConfigError` where it is absent."""
    return _part(load_templates(name).spec, "spec", name, "opaque")


def _part(part: ValueT | None, part_name: str, name: str, others: str) -> ValueT:
    if part is None:
        what = f"has no `{part_name}` part, which this style of chats needs"
        raise ConfigError(what, where=name, hint=f"Give another style ({others}), or other chat templates")
    return part


def load_templates(name: str) -> ChatTemplates:
    """Load the templates shipped under `name` (`english`), or those of the YAML file at that path.

    Raises:
        MissingError: neither shipped nor a file.
        ConfigError: not YAML, or not of this format; names the path inside the file.
    """
    shipped = resources.files("midspec.chats") / "_frames" / f"{name}.yaml"
    path = shipped if name.isidentifier() and shipped.is_file() else Path(name)
    if not path.is_file():
        raise MissingError("there are no such chat templates", where=name, hint="Give `english` or a YAML file's path")
    try:
        return ChatTemplates.model_validate(read_yaml(path))
    except ValidationError as error:
        what = ": ".join(first_fault(error, "the file"))
        raise ConfigError(what, where=name, hint="Correct that field of the chat templates") from error
