"""METHOD 2, steps 1 to 5, by a language model: domains, subdomains or rules, assertions, document types, ideas.

Nothing waits for what it does not need: each list is asked for as soon as the one above it exists, and each idea is
handed on as soon as it is read. Models name numbers of clauses; what no model names, the program plans itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from pydantic import JsonValue

from midspec.core.records import Assertion, Strict
from midspec.corpus._config import CorpusConfig
from midspec.corpus._outline import Outline, Unit, assertions_of, made_by, nearest, runs_of, shown
from midspec.corpus.llm_author import _replies as forms
from midspec.corpus.llm_author._prompts import template
from midspec.corpus.llm_author._requests import ListRequest, RequestSender, id_of
from midspec.corpus.llm_author._sizes import Dealer, Size, apportion, shape
from midspec.corpus.template_author._templates import DocumentTemplates
from midspec.generation import Pool


@dataclass
class Kind:
    """A document type of one subject: what each of its ideas is to be about, and the ideas that exist by name."""

    id: str
    order: tuple[int, ...]
    subject: Subject
    name: str
    description: str
    ideas: list[str] = field(default_factory=list)


@dataclass
class Subject:
    """A subdomain, or a rule: its clauses by position, what they assert, and its document types.

    Attributes:
        rule: a rule's id as the spec writes it; empty for a subdomain.
        places: for each assertion, the position of its clause.
    """

    id: str
    order: tuple[int, ...]
    domain: str
    name: str
    context: str
    positions: tuple[int, ...]
    n_documents: int
    rule: str = ""
    claims: tuple[Assertion, ...] = ()
    places: tuple[int, ...] = ()
    kinds: list[Kind] = field(default_factory=list)

    @property
    def head(self) -> tuple[int, ...]:
        """The assertion that goes with every other: that of a rule's first clause, which bears its number."""
        return (self.places.index(self.positions[0]),) if self.rule else ()


@dataclass(frozen=True)
class _Domain:
    id: str
    order: int
    name: str
    description: str
    positions: tuple[int, ...]
    shares: tuple[float, ...]
    n_documents: int


NamedType = TypeVar("NamedType", bound=forms.Named)
Write = Callable[[Kind, tuple[int, ...], forms.IdeaEntry], None]


class Planner:
    """Plans one corpus and calls `write` for each idea.

    Args:
        weights: of each clause, by position.
        write: is given a type, the assertions that a document is about (by index), and its idea.

    Attributes:
        subjects: those planned so far.
        notes: what is smaller or other than was wanted.
        n_wanted: how many documents are wanted, as far as is known.
    """

    def __init__(
        self,
        desk: RequestSender,
        pool: Pool,
        config: CorpusConfig,
        size: Size,
        found: Outline,
        frames: Callable[[], DocumentTemplates],
        weights: Sequence[float],
        write: Write,
    ) -> None:
        self._desk, self._pool, self._config, self._size = desk, pool, config, size
        self._found, self._frames, self._weights, self._write = found, frames, weights, write
        self._texts = [clause.text for clause in found.clauses]
        self._names = {"model_name": config.model_name or "", "made_by": made_by(config.provider_name)}
        self._rules = config.mode == "rules"
        self._forms: dict[type[Strict], dict[str, JsonValue]] = {
            kind: forms.bounded_form(kind, most)
            for kind, most in (
                (forms.Domains, len(self._texts)),
                (forms.RuleDomains, len(found.units)),
                (forms.Subdomains, len(self._texts)),
                (forms.Assertions, len(self._texts)),
                (forms.DocTypes, 1),
                (forms.Ideas, 1),
            )
        }
        self.subjects: list[Subject] = []
        self.notes: list[str] = []
        self.n_wanted = size.n_documents or 0

    def start(self) -> None:
        """Put the first piece of work into the pool."""
        self._pool.add(self._rule_domains if self._rules else self._domains, first=True)

    # Step 1 --------------------------------------------------------------------------------------------------------

    async def _domains(self) -> None:
        read = forms.reader(forms.Domains, lambda reply: reply.domains, lambda entry: self._places(entry.passages))
        entries = await self._desk.listed(
            self._listing("domains", self._desk.root, self._size.n_domains, forms.Domains, read, {}, "domains")
        )
        self._short("domains of the spec", self._size.n_domains, len(entries))
        everything = range(len(self._texts))
        if entries:
            homes = [sorted(self._places(entry.passages)) for entry in entries]
            parts = [(e.name, e.description, home) for e, home in zip(entries, nearest(homes, everything), strict=True)]
        else:
            self.notes.append("no domains were given: those of the spec's own headings are used")
            parts = [(name, "", positions) for name, positions in self._found.by_domain.items()]
        n_owners = [0] * len(self._texts)
        for _, _, positions in parts:
            for position in positions:
                n_owners[position] += 1
        shares = [[self._weights[p] / n_owners[p] for p in positions] for _, _, positions in parts]
        counts = self._counts([sum(share) for share in shares], self.n_wanted)
        for order, ((name, description, positions), share, n) in enumerate(zip(parts, shares, counts, strict=True)):
            domain = _Domain(
                id_of(self._desk.root, name, runs_of(positions)), order, name, description, positions, tuple(share), n
            )
            if n:
                self._pool.add(partial(self._subdomains, domain), first=True)

    async def _rule_domains(self) -> None:
        units = self._found.units
        listed = [f"{index}. {_rule_name(unit)}" for index, unit in enumerate(units, start=1)]
        read = forms.reader(forms.RuleDomains, lambda reply: reply.domains, self._check_rules)
        wanted = min(self._size.n_domains, len(units))
        entries = await self._desk.listed(
            self._listing(
                "domains",
                self._desk.root,
                wanted,
                forms.RuleDomains,
                read,
                {"rules": "\n".join(listed)},
                "rule_domains",
            )
        )
        self._short("domains of the rules", wanted, len(entries))
        names = [entry.name for entry in entries] or [self._found.title]
        if not entries:
            self.notes.append("no domains were given: the spec as a whole is the only one")
        taken: set[int] = set()
        homes: list[list[int]] = []
        for entry in entries:
            homes.append([number - 1 for number in dict.fromkeys(entry.rules) if number - 1 not in taken])
            taken.update(homes[-1])
        home_of = {
            index: names[order]
            for order, home in enumerate(nearest(homes or [[]], range(len(units))))
            for index in home
        }
        if self._size.n_documents is None:
            self.n_wanted = self._size.documents(len(units))
        counts = self._counts([sum(self._weights[p] for p in unit.positions) for unit in units], self.n_wanted)
        for index, (unit, n) in enumerate(zip(units, counts, strict=True)):
            if n:
                subject = Subject(
                    id=id_of(self._desk.root, home_of[index], unit.rule_id, runs_of(unit.positions)),
                    order=(0, index),
                    domain=home_of[index],
                    name=_rule_name(unit),
                    context=unit.context,
                    positions=unit.positions,
                    n_documents=n,
                    rule=unit.rule_id,
                )
                self._claim(subject, ())
                self._pool.add(partial(self._doc_types, subject), first=True)

    # Steps 2 and 3 -------------------------------------------------------------------------------------------------

    async def _subdomains(self, domain: _Domain) -> None:
        wanted = self._size.n_subdomains
        slots = {"domain": domain.name, "description": domain.description, "clauses": runs_of(domain.positions)}
        read = forms.reader(
            forms.Subdomains, lambda reply: reply.subdomains, lambda entry: self._places(entry.passages)
        )
        entries = await self._desk.listed(
            self._listing("subdomains", domain.id, wanted, forms.Subdomains, read, slots, "subdomains")
        )
        self._short(f'subdomains of "{domain.name}"', wanted, len(entries))
        if entries:
            homes = [sorted(self._places(entry.passages)) for entry in entries]
            grown = nearest(homes, domain.positions)
            parts = [(e.name, e.context, home) for e, home in zip(entries, grown, strict=True)]
        else:
            parts = self._sections(domain)
        share = dict(zip(domain.positions, domain.shares, strict=True))
        weights = [
            sum(share.get(position, self._weights[position]) for position in positions) for _, _, positions in parts
        ]
        if self._size.n_documents is None:
            self.n_wanted += self._size.documents(len(parts))
        counts = self._counts(weights, domain.n_documents)
        for order, ((name, context, positions), n) in enumerate(zip(parts, counts, strict=True)):
            if n:
                subject = Subject(
                    id=id_of(domain.id, name, runs_of(positions)),
                    order=(domain.order, order),
                    domain=domain.name,
                    name=name,
                    context=context,
                    positions=positions,
                    n_documents=n,
                )
                self._pool.add(partial(self._assertions, subject), first=True)

    def _sections(self, domain: _Domain) -> list[tuple[str, str, tuple[int, ...]]]:
        self.notes.append(f'no subdomains of "{domain.name}" were given: the spec\'s own sections are used')
        units = [self._found.units[index] for index in dict.fromkeys(self._found.unit_of[p] for p in domain.positions)]
        own = set(domain.positions)
        return [(unit.name, unit.context, tuple(p for p in unit.positions if p in own)) for unit in units]

    async def _assertions(self, subject: Subject) -> None:
        slots = {
            "domain": subject.domain,
            "subdomain": subject.name,
            "clauses": shown(self._texts, subject.positions),
            "most": str(2 * len(subject.positions)),
        }
        read = forms.reader(forms.Assertions, lambda reply: reply.assertions)
        prompt = template("assertions").fill({**self._names, **slots})
        said = await self._desk.ask("assertions", (subject.id,), prompt, read, self._forms[forms.Assertions])
        if said.value is None:
            self.notes.append(f'no assertions of "{subject.name}" were given: its clauses are used as they stand')
        self._claim(subject, said.value or ())
        self._pool.add(partial(self._doc_types, subject), first=True)

    def _claim(self, subject: Subject, entries: Sequence[forms.AssertionEntry]) -> None:
        """Take what the model asserted of the subject's clauses; each clause that it left out asserts itself."""
        own = set(subject.positions)
        clauses = self._found.clauses
        found: list[tuple[int, Assertion]] = []
        for entry in entries:
            position = entry.clause - 1
            if position in own:
                made = Assertion(
                    clause_id=clauses[position].id,
                    name=entry.name,
                    text=entry.assertion,
                    explanation=entry.explanation,
                    label=entry.label,
                )
                found.append((position, made))
        left = sorted(own - {position for position, _ in found})
        found += zip(left, assertions_of(self._found, left, self._frames()) if left else (), strict=True)
        found.sort(key=lambda pair: pair[0])
        subject.places = tuple(position for position, _ in found)
        subject.claims = tuple(made for _, made in found)

    # Steps 4 and 5 -------------------------------------------------------------------------------------------------

    async def _doc_types(self, subject: Subject) -> None:
        ideas = shape(subject.n_documents, self._size)
        n_of = {place: subject.places.count(place) for place in set(subject.places)}
        weights = [self._weights[place] / n_of[place] for place in subject.places]
        dealt = Dealer(weights).deal(ideas, all_dealt=self._size.all_dealt)
        dealt = [[tuple(sorted({*subject.head, *focus})) for focus in row] for row in dealt]
        read = forms.reader(forms.DocTypes, lambda reply: reply.doc_types)
        name = "rule_doc_types" if self._rules else "doc_types"
        listing = self._listing("doc_types", subject.id, len(ideas), forms.DocTypes, read, self._about(subject), name)
        entries: list[tuple[str, str]] = [(e.name, e.description) for e in await self._desk.listed(listing)]
        if not entries:
            self.notes.append(f'no document types for "{subject.name}" were given: shipped ones are used')
            shipped = [one for one in self._frames().doc_types if self._config.mode in one.modes]
            entries = [(one.name, one.description) for one in shipped[: len(ideas)]]
        self._short(f'document types for "{subject.name}"', len(ideas), len(entries))
        self.subjects.append(subject)
        for order, ((title, description), focuses) in enumerate(zip(entries, dealt, strict=False)):
            kind = Kind(id_of(subject.id, title, description), (*subject.order, order), subject, title, description)
            subject.kinds.append(kind)
            self._pool.add(partial(self.ideas, kind, focuses), first=True)

    async def ideas(self, kind: Kind, focuses: Sequence[tuple[int, ...]], more: str = "") -> None:
        """Have an idea for each focus, and each handed on as soon as it exists.

        Args:
            kind: the type.
            focuses: for each idea, the indices of the assertions that it turns on.
            more: what tells further ideas, wanted later, from those of the plan.
        """
        about = {**self._about(kind.subject), "doc_type": kind.name, "type_description": kind.description}
        name = "rule_ideas" if self._rules else "ideas"

        def prompt(n: int, n_have: int, existing: str) -> str:
            focus = "\n".join(
                f"- idea {index}: {', '.join(str(one + 1) for one in focuses[n_have + index - 1])}"
                for index in range(1, n + 1)
            )
            return template(name).fill({**about, "n": str(n), "focus": focus, "existing": existing})

        listing: ListRequest[forms.IdeaEntry] = ListRequest(
            stage="ideas",
            parent=id_of(kind.id, more) if more else kind.id,
            wanted=len(focuses),
            prompt=prompt,
            read=forms.reader(forms.Ideas, lambda reply: reply.ideas),
            name=lambda entry: entry.name,
            form=self._forms[forms.Ideas],
            taken=tuple(kind.ideas) if more else (),
        )
        number = 0
        async for batch in self._desk.batches(listing):
            for entry in batch:
                kind.ideas.append(entry.name)
                self._write(kind, focuses[number], entry)
                number += 1
        self._short(f'ideas for "{kind.name}" on "{kind.subject.name}"', len(focuses), number)

    # Helpers -------------------------------------------------------------------------------------------------------

    def _about(self, subject: Subject) -> dict[str, str]:
        lines = [_claim_line(index, claim, self._rules) for index, claim in enumerate(subject.claims, start=1)]
        return {
            **self._names,
            "domain": subject.domain,
            "subdomain": subject.name,
            "context": subject.context,
            "assertions": "\n".join(lines),
        }

    def _listing(
        self,
        stage: str,
        parent: str,
        wanted: int,
        kind: type[Strict],
        read: Callable[[str], Sequence[NamedType]],
        slots: dict[str, str],
        name: str,
    ) -> ListRequest[NamedType]:
        def prompt(n: int, _: int, existing: str) -> str:
            return template(name).fill({**self._names, **slots, "n": str(n), "existing": existing})

        return ListRequest(stage, parent, wanted, prompt, read, lambda entry: entry.name, self._forms[kind])

    def _places(self, passages: Sequence[forms.Passage]) -> set[int]:
        return forms.positions_of(passages, len(self._texts))

    def _check_rules(self, entry: forms.RuleDomainEntry) -> None:
        forms.check_numbers(entry.rules, len(self._found.units), "rule")

    def _counts(self, weights: Sequence[float], total: int) -> list[int]:
        """Documents for each part; where types and ideas give them exactly, each part counts alike."""
        return [1] * len(weights) if self._size.n_documents is None else apportion(total, weights)

    def _short(self, what: str, wanted: int, n: int) -> None:
        if n < wanted:
            self.notes.append(f"{wanted} {what} were wanted, {n} came")


def _claim_line(index: int, claim: Assertion, rules: bool) -> str:
    if rules:
        return f"{index}. {claim.text}"
    reason = f" Reason given: {claim.explanation}" if claim.explanation else ""
    return f"{index}. {claim.name} ({claim.label}): {claim.text}{reason}"


def _rule_name(unit: Unit) -> str:
    return f"{unit.rule_id} {unit.name}".strip() if unit.name != unit.rule_id else unit.rule_id
