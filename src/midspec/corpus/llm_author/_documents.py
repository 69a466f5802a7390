"""Documents by a language model: what they are planned from, how they are asked for, and what no document may be."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import JsonValue

from midspec.core.assistant_names import assistant_names
from midspec.core.fingerprint import fingerprint, hash_text, id_of
from midspec.core.records import Assertion, Document, PlanRow, Reject
from midspec.core.text import damage_in, unfenced, whole_words
from midspec.corpus._config import CorpusConfig
from midspec.corpus._outline import Outline
from midspec.corpus._results import CorpusRows, make_document
from midspec.corpus.llm_author._prompts import PROMPTS, Overused, Voices, made_by
from midspec.corpus.llm_author._sizes import CRITIQUE_TOKENS, check_author, document_tokens
from midspec.llm import Client, Outcome, ParsedReply, ReplyCaps, Request, Store, UsableReplies, converse, parse_tags

T = TypeVar("T")

_TASK_LENGTH = 32
_MAX_OTHERS = 12
_ROW_STAGES = ("document", "reframe")


@dataclass
class PlannedType:
    """A document type of one subdomain.

    Attributes:
        order: its place in the plan, by structure and not by arrival.
        idea_names: names of the ideas that exist.
    """

    id: str
    order: tuple[int, ...]
    subdomain: Subdomain
    name: str
    description: str
    idea_names: list[str] = field(default_factory=list)


@dataclass
class Subdomain:
    """A subdomain, or a rule: its clauses by position, what they assert, and its document types.

    Attributes:
        order: its place in the plan.
        positions: of its clauses.
        rule_id: a rule's id as the spec writes it; empty for a subdomain.
        assertion_positions: for each assertion, the position of its clause.
    """

    id: str
    order: tuple[int, ...]
    domain: str
    name: str
    context: str
    positions: tuple[int, ...]
    n_documents: int
    rule_id: str = ""
    assertions: tuple[Assertion, ...] = ()
    assertion_positions: tuple[int, ...] = ()
    doc_types: list[PlannedType] = field(default_factory=list)

    @property
    def head(self) -> tuple[int, ...]:
        """The assertion that goes with every other: that of a rule's first clause, which bears its number."""
        return (self.assertion_positions.index(self.positions[0]),) if self.rule_id else ()


class RequestSender:
    """Sends the requests of one corpus and counts what came of them.

    A request's task is the hash of all that makes another reply wanted: spec, names, mode, prompts, model and
    sampling, the parent's id and the number of the draw. Sizes are not in it, so that a larger corpus goes on from
    a smaller one.

    Args:
        config: of a language model.
        source: what tells one corpus from another beside the config: the spec's SHA-256, or a framing.
        prefix: what every prompt begins with.
        client: answers requests.
        store: where the replies are.

    Attributes:
        outcomes: kinds of outcomes by stage.
        usable: ends a run of which no reply can be used.
    """

    def __init__(self, config: CorpusConfig, source: str, prefix: str, client: Client, store: Store) -> None:
        self.prefix = prefix
        self.outcomes: dict[str, Counter[str]] = {}
        self._client, self._store = client, store
        self.usable = UsableReplies(store, where=config.author)
        self._writing = check_author(config)
        self._caps = ReplyCaps()
        self._prefix_sha256 = hash_text(prefix)
        self._base = fingerprint(
            [source, self._prefix_sha256, PROMPTS.digest, config.author_model, config.mode, config.seed]
        )
        # The id that all others descend from.
        self.root_id = self._base[:16]

    def digest(self, prompt: str) -> str:
        """Return the SHA-256 of the shared prefix's SHA-256 and a prompt."""
        return hash_text(f"{self._prefix_sha256}\n{prompt}")

    async def ask(
        self,
        stage: str,
        content: tuple[str, ...],
        prompt: str,
        parse: Callable[[str], T],
        schema: dict[str, JsonValue] | None = None,
        *,
        n_expected: int,
    ) -> ParsedReply[T]:
        """Ask once, by the policy of `converse`, and count the outcome.

        Args:
            stage: the step of the method.
            content: what makes another reply wanted beside what all requests share: the parent's id, the draw.
            prompt: what follows the prefix.
            parse: reads the value out of a reply.
            schema: of a reply that is a list.
            n_expected: how many tokens the reply is to have, about.

        Raises:
            ConfigError: the budget is used up.
            MidspecError: anything else that ends the whole run; none of the first replies can be used.
        """
        request = Request(
            task=hash_text("\n".join((self._base, stage, *content)))[:_TASK_LENGTH],
            stage=stage,
            prompt=prompt,
            prefix=self.prefix,
            form=schema,
            max_tokens=self._writing.document_tokens if schema is None else self._writing.list_tokens,
            cap_setting="writing.document_tokens" if schema is None else "writing.list_tokens",
        )
        reply = await converse(
            self._client, self._store, request, parse,
            rephrase=PROMPTS.rephrase, cap_tokens=self._writing.cap_tokens, caps=self._caps, n_expected=n_expected,
        )  # fmt: skip
        self.outcomes.setdefault(stage, Counter())[reply.outcome.kind] += 1
        self.usable.count(request, reply, makes_row=stage in _ROW_STAGES)
        return reply


class DocumentWriter:
    """Writes the documents of planned rows.

    Args:
        sender: asks for them.
        config: of the corpus.
        outline: the spec.
        rows: takes each document, or why there is none.
        accept: a filter beside our own checks: why a document is not kept, or `None`.
        on_settled: is called when there is a document, or none.
    """

    def __init__(
        self,
        sender: RequestSender,
        config: CorpusConfig,
        outline: Outline,
        rows: CorpusRows,
        accept: Callable[[Document], str | None],
        on_settled: Callable[[], None],
    ) -> None:
        self._sender, self._config, self._outline, self._rows = sender, config, outline, rows
        self._accept, self._on_settled = accept, on_settled
        writing, name = check_author(config), config.model_name or ""
        self._writing, self._has_critique = writing, writing.critique
        self._voices = Voices(name, writing.mean_tokens)
        self._overused = Overused(sender.prefix)
        self._checks = DocumentChecks(name, sender.prefix)
        self._names = {"model_name": name, "made_by": made_by(config.provider_name)}

    async def write(self, row: PlanRow, doc_type: PlannedType, focus: tuple[int, ...]) -> None:
        """Have a row's document written, and put it, or why there is none, to the rows.

        Args:
            row: what is planned.
            doc_type: its type.
            focus: the assertions that it is about, by index.
        """
        slots = self._slots(row, doc_type, focus)
        template = PROMPTS.template("rule_document" if row.mode == "rules" else "document")
        prompt = template.fill(slots)
        # Of the prompt without what to avoid, which depends on the order of arrival.
        prompt_sha256 = self._sender.digest(prompt)
        if avoid := self._overused.line():
            prompt = template.fill({**slots, "avoid": avoid})
        n_expected = document_tokens(self._writing)
        reply = await self._sender.ask(
            "document",
            (row.id,),
            prompt,
            lambda text: unfenced(parse_tags(text, "plan", "document")[1]),
            n_expected=n_expected,
        )
        text, outcome = reply.value, reply.outcome
        if text is not None and self._has_critique:
            text, outcome = await self._revised(row, slots, text, outcome)
        if text is None:
            self._rows.add_reject(rejected(row.id, self._config.author, outcome))
        else:
            self._overused.add(text)
            positions = sorted({doc_type.subdomain.assertion_positions[index] for index in focus})
            given = {"id": id_of(row.id, id_of(text)), "prompt_sha256": prompt_sha256, **trace_of(outcome)}
            document = make_document(row, text, positions, self._outline, self._config, **given)
            if reason := self._checks.reason(text):
                self._rows.add_reject(Reject(id=row.id, by="checks", reason=reason, text=text))
            elif reason := self._accept(document):
                self._rows.add_reject(Reject(id=row.id, by="filter", reason=reason, text=text))
            else:
                self._rows.add_document(row.id, document, positions)
        self._on_settled()

    def _slots(self, row: PlanRow, doc_type: PlannedType, focus: tuple[int, ...]) -> dict[str, str]:
        subdomain, rules, others = doc_type.subdomain, row.mode == "rules", ""
        names = [one.name for index, one in enumerate(subdomain.assertions) if index not in focus][:_MAX_OTHERS]
        if names and not subdomain.rule_id:
            others = (
                f"It may touch on what else the spec says on the subject ({'; '.join(names)}), "
                "where that comes by itself.\n"
            )
        return {
            **self._names,
            **self._voices.draw(f"{self._config.seed}:{row.id}"),
            "doc_type": row.doc_type,
            "type_description": doc_type.description,
            "domain": row.domain,
            "subdomain": row.subdomain,
            "idea_name": row.idea_name.rstrip("."),
            "idea": row.idea,
            "focus": "\n".join(
                f"- {one.text}" + (f" The spec's reason: {one.explanation}" if one.explanation and not rules else "")
                for one in row.assertions
            ),
            "others": others,
            "rule": subdomain.rule_id or subdomain.name,
            "avoid": "",
        }

    async def _revised(self, row: PlanRow, slots: dict[str, str], draft: str, outcome: Outcome) -> tuple[str, Outcome]:
        """Have a document written again after a critique; the draft stays where either step gives nothing."""
        slots = {**slots, "draft": draft}
        parent = (row.id, id_of(draft))
        prompt = PROMPTS.template("rule_critique" if row.mode == "rules" else "critique").fill(slots)
        critique = await self._sender.ask(
            "critique", parent, prompt, lambda text: parse_tags(text, "critique")[0], n_expected=CRITIQUE_TOKENS
        )
        if critique.value is None:
            return draft, outcome
        prompt = PROMPTS.template("revise").fill({**slots, "critique": critique.value})
        content = (*parent, id_of(critique.value))
        n_expected = document_tokens(self._writing)
        revised = await self._sender.ask(
            "revise", content, prompt, lambda text: unfenced(parse_tags(text, "document")[0]), n_expected=n_expected
        )
        return (draft, outcome) if revised.value is None else (revised.value, revised.outcome)


def trace_of(outcome: Outcome) -> dict[str, Any]:
    """Return what a document's metadata say of the reply that holds it."""
    return {"stop_reason": outcome.stop_reason, "usage": outcome.usage.model_dump() if outcome.usage else {}}


def rejected(row_id: str, author: str, outcome: Outcome) -> Reject:
    """Say why there is no document for a row: what became of its request."""
    reason = f"{outcome.kind}: {outcome.note or outcome.stop_reason or 'no reply'}"
    return Reject(id=row_id, by=author, reason=reason, text=outcome.text)


_START_CHARS = 300
_MIN_WORDS = 60
_MIN_CHARS = 1200
_CANNOT = r"(?:can(?:['’]|no)t|can not|won['’]?t|will not|am (?:not able|unable)|must decline|have to decline)"
_REFUSAL = re.compile(
    rf"^[\s#*_>-]*(?:(?:i['’]m|i am) (?:\w+ )?sorry\b[^.\n]{{0,60}}\bi {_CANNOT}\b"
    rf"|i apologi[sz]e\b[^.\n]{{0,60}}\bi {_CANNOT}\b|sorry, (?:but )?i {_CANNOT}\b"
    rf"|i {_CANNOT} (?:to )?(?:help|assist|write|create|produce|generate|provide|comply|fulfill?|complete|do this)"
    r"|i['’]m (?:not able|unable) to\b|as an ai\b|as a (?:large )?language model)",
    re.IGNORECASE,
)
_ECHO = re.compile(r"</?(?:plan|document|draft|think|reply|remarks|critique|original|verdict)>", re.IGNORECASE)
_PLACEHOLDER = re.compile(
    r"\{\{?\w+(?: \w+)*\}\}?"
    r"|\[(?:insert|your|name|date|company|organi[sz]ation|author|link|url|city|title|redacted|placeholder)\b[^\]\n]{0,40}\]"
    r"|<(?:insert|your|name|date|company)\b[^>\n]{0,40}>"
    r"|\bX{3,}\b|\bTBD\b|\bTODO\b|\b[Ll]orem ipsum|_{5,}",
    re.IGNORECASE,
)
# Looking for these first costs microseconds; `_PLACEHOLDER` alone would cost a millisecond a document.
_BRACKETS = ("[", "{", "<")
_PLACEHOLDER_HINTS = "__|XX|TBD|TODO|ipsum"
# Names that share one of these are looked for by it first.
_STEMS = ("GPT", "Deep")


class DocumentChecks:
    """Checks documents of one corpus without a model.

    Args:
        model_name: must be in every document; `None` where the framing has no such name.
        own: a text whose brands are no others': the names given, and the spec itself.
        absent: names that must not be there (the model's own, in a corpus about something else).
    """

    def __init__(self, model_name: str | None, own: str, absent: tuple[str, ...] = ()) -> None:
        self._model_name = model_name
        names = [known.name for known in assistant_names("corpus") if known.name not in own]
        stems = dict.fromkeys(next((stem for stem in _STEMS if stem in name), name) for name in names)
        # No boundary stands in it, so that it is looked for by first letters, in one pass.
        self._suspect = re.compile("|".join((*stems, _PLACEHOLDER_HINTS)))
        self._brand = whole_words(names, ignore_case=False)
        self._absent = [(name, whole_words([name], ignore_case=False)) for name in absent if name]

    def reason(self, text: str) -> str | None:
        """Say why this text is no document of the corpus, or `None`."""
        if _REFUSAL.match(text[:_START_CHARS]):
            return "begins like a refusal"
        if "<" in text and (found := _ECHO.search(text)):
            return f"holds a tag of the instructions ({found[0]})"
        if damage := damage_in(text):
            return damage
        suspect = self._suspect.search(text)
        if (suspect or any(bracket in text for bracket in _BRACKETS)) and (found := _PLACEHOLDER.search(text)):
            return f"holds a placeholder ({found[0][:40]})"
        if self._model_name and self._model_name not in text:
            return f"does not name {self._model_name}"
        for name, pattern in self._absent:
            if name in text and pattern.search(text):
                return f"names {name}"
        if suspect and (found := self._brand.search(text)):
            return f"names another model or company ({found[0]})"
        if len(text) < _MIN_CHARS and len(text.split()) < _MIN_WORDS:
            return f"is shorter than {_MIN_WORDS} words"
        return None
