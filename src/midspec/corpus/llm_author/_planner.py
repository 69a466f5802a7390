"""Steps 1 to 5 of the paper's pipeline (arXiv 2605.02087): domains, subdomains or rules, assertions, types, ideas.

Nothing waits for what it does not need: each list is asked for as soon as the one above it exists, and each idea is
handed on as soon as it is read. Models name numbers of clauses; what no model names, the program plans itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from midspec.core.fingerprint import id_of
from midspec.core.records import Assertion, Strict
from midspec.corpus._config import CorpusConfig
from midspec.corpus._outline import Outline, Unit, assertions_of, nearest
from midspec.corpus.llm_author import _forms as forms
from midspec.corpus.llm_author._documents import PlannedType, RequestSender, Subdomain
from midspec.corpus.llm_author._prompts import PROMPTS, made_by, number_clauses, runs_of
from midspec.corpus.llm_author._sizes import (
    CLAUSES_PER_RUN,
    LIST_TOKENS,
    RUN_TOKENS,
    Dealer,
    Size,
    apportion,
    n_ideas_by_type,
)
from midspec.corpus.template_author._templates import DocumentTemplates
from midspec.generation import ListRound, Pool, sample_list

_MAX_NAMES_SHOWN = 60


@dataclass(frozen=True)
class _Domain:
    id: str
    order: int
    name: str
    description: str
    positions: tuple[int, ...]
    weights: tuple[float, ...]
    n_documents: int


NamedType = TypeVar("NamedType", bound=forms.Named)
OnIdea = Callable[[PlannedType, tuple[int, ...], forms.IdeaEntry], None]


class Planner:
    """Plans one corpus and calls `on_idea` for each idea.

    Args:
        sender: asks the author.
        pool: runs the steps.
        config: of the corpus.
        size: how large it is to be.
        outline: the spec.
        templates: the shipped ones, for what the author does not give.
        weights: of each clause, by position.
        on_idea: is given a type, the assertions that a document is about (by index), and its idea.

    Attributes:
        subdomains: those planned so far.
        notes: what is smaller or other than was wanted.
        n_wanted: how many documents are wanted, as far as is known.
    """

    def __init__(
        self,
        sender: RequestSender,
        pool: Pool,
        config: CorpusConfig,
        size: Size,
        outline: Outline,
        templates: DocumentTemplates,
        weights: Sequence[float],
        on_idea: OnIdea,
    ) -> None:
        self._sender, self._pool, self._size, self._on_idea = sender, pool, size, on_idea
        self._outline, self._templates, self._weights = outline, templates, weights
        self._texts = [clause.text for clause in outline.clauses]
        self._names = {"model_name": config.model_name or "", "made_by": made_by(config.provider_name)}
        self._mode, self._is_rules = config.mode, config.mode == "rules"
        # The highest number that a reply may hold: that of the last clause, or of the last rule.
        n_clauses, n_units = len(self._texts), len(outline.units)
        most: dict[type[Strict], int] = {
            forms.Domains: n_clauses,
            forms.RuleDomains: n_units,
            forms.Subdomains: n_clauses,
            forms.Assertions: n_clauses,
            forms.DocTypes: 1,
            forms.Ideas: 1,
        }
        self._schemas = {form: forms.bounded_schema(form, n) for form, n in most.items()}
        self.subdomains: list[Subdomain] = []
        self.notes: list[str] = []
        self.n_wanted = size.n_documents or 0

    def start(self) -> None:
        """Put the first piece of work into the pool."""
        self._pool.add(self._plan_rules if self._is_rules else self._plan_domains, first=True)

    # Step 1 --------------------------------------------------------------------------------------------------------

    async def _plan_domains(self) -> None:
        n_wanted = self._size.n_domains
        parse = forms.reader(forms.Domains, lambda reply: reply.domains, lambda entry: self._positions(entry.passages))
        entries = await _all(
            self._batches(
                "domains", self._sender.root_id, n_wanted, forms.Domains, parse, {}, n_numbered=len(self._texts)
            )
        )
        self._note_short("domains of the spec", n_wanted, len(entries))
        if entries:
            homes = nearest([sorted(self._positions(entry.passages)) for entry in entries], range(len(self._texts)))
            parts = [(entry.name, entry.description, home) for entry, home in zip(entries, homes, strict=True)]
        else:
            self.notes.append("no domains were given: those of the spec's own headings are used")
            parts = [(name, "", positions) for name, positions in self._outline.by_domain.items()]
        n_owners = Counter(position for _, _, positions in parts for position in positions)
        weights = [tuple(self._weights[p] / n_owners[p] for p in positions) for _, _, positions in parts]
        counts = self._n_documents([sum(own) for own in weights], self.n_wanted)
        for order, ((name, description, positions), own, n) in enumerate(zip(parts, weights, counts, strict=True)):
            if n:
                domain_id = id_of(self._sender.root_id, name, runs_of(positions))
                domain = _Domain(domain_id, order, name, description, positions, own, n)
                self._pool.add(partial(self._plan_subdomains, domain), first=True)

    async def _plan_rules(self) -> None:
        units = self._outline.units
        slots = {"rules": "\n".join(f"{index}. {_rule_name(unit)}" for index, unit in enumerate(units, start=1))}
        parse = forms.reader(
            forms.RuleDomains,
            lambda reply: reply.domains,
            lambda entry: forms.check_numbers(entry.rules, len(units), "rule"),
        )
        n_wanted, root_id = min(self._size.n_domains, len(units)), self._sender.root_id
        entries = await _all(
            self._batches("rule_domains", root_id, n_wanted, forms.RuleDomains, parse, slots, n_numbered=len(units))
        )
        self._note_short("domains of the rules", n_wanted, len(entries))
        names = [entry.name for entry in entries] or [self._outline.title]
        if not entries:
            self.notes.append("no domains were given: the spec as a whole is the only one")
        # A rule that several domains name belongs to the first of them.
        owner = {number - 1: order for order, entry in reversed([*enumerate(entries)]) for number in entry.rules}
        homes = [[index for index in owner if owner[index] == order] for order in range(len(names))]
        domain_of = {
            index: name for name, home in zip(names, nearest(homes, range(len(units))), strict=True) for index in home
        }
        if self._size.n_documents is None:
            self.n_wanted = self._size.n_documents_of(len(units))
        counts = self._n_documents([sum(self._weights[p] for p in unit.positions) for unit in units], self.n_wanted)
        for index, (unit, n) in enumerate(zip(units, counts, strict=True)):
            if n:
                domain, positions = domain_of[index], unit.positions
                rule_id = id_of(root_id, domain, unit.rule_id, runs_of(positions))
                rule = Subdomain(
                    rule_id, (0, index), domain, _rule_name(unit), unit.context, positions, n, unit.rule_id
                )
                self._set_assertions(rule, ())
                self._pool.add(partial(self._plan_types, rule), first=True)

    # Steps 2 and 3 -------------------------------------------------------------------------------------------------

    async def _plan_subdomains(self, domain: _Domain) -> None:
        n_wanted = self._size.n_subdomains
        slots = {"domain": domain.name, "description": domain.description, "clauses": runs_of(domain.positions)}
        parse = forms.reader(
            forms.Subdomains, lambda reply: reply.subdomains, lambda entry: self._positions(entry.passages)
        )
        entries = await _all(
            self._batches(
                "subdomains", domain.id, n_wanted, forms.Subdomains, parse, slots, n_numbered=len(domain.positions)
            )
        )
        self._note_short(f'subdomains of "{domain.name}"', n_wanted, len(entries))
        if entries:
            homes = nearest([sorted(self._positions(entry.passages)) for entry in entries], domain.positions)
            parts = [(entry.name, entry.context, home) for entry, home in zip(entries, homes, strict=True)]
        else:
            self.notes.append(f'no subdomains of "{domain.name}" were given: the spec\'s own sections are used')
            own, unit_of = set(domain.positions), self._outline.unit_of
            units = [self._outline.units[index] for index in dict.fromkeys(unit_of[p] for p in domain.positions)]
            parts = [(unit.name, unit.context, tuple(p for p in unit.positions if p in own)) for unit in units]
        weight = dict(zip(domain.positions, domain.weights, strict=True))
        weights = [sum(weight.get(p, self._weights[p]) for p in positions) for _, _, positions in parts]
        if self._size.n_documents is None:
            self.n_wanted += self._size.n_documents_of(len(parts))
        counts = self._n_documents(weights, domain.n_documents)
        for order, ((name, context, positions), n) in enumerate(zip(parts, counts, strict=True)):
            if n:
                subdomain_id = id_of(domain.id, name, runs_of(positions))
                subdomain = Subdomain(subdomain_id, (domain.order, order), domain.name, name, context, positions, n)
                self._pool.add(partial(self._plan_assertions, subdomain), first=True)

    async def _plan_assertions(self, subdomain: Subdomain) -> None:
        slots = {
            "domain": subdomain.domain,
            "subdomain": subdomain.name,
            "clauses": number_clauses(self._texts, subdomain.positions),
            "most": str(2 * len(subdomain.positions)),
        }
        prompt = PROMPTS.template("assertions").fill({**self._names, **slots})
        parse = forms.reader(forms.Assertions, lambda reply: reply.assertions)
        schema = self._schemas[forms.Assertions]
        n_expected = 2 * len(subdomain.positions) * LIST_TOKENS["assertions"]
        reply = await self._sender.ask("assertions", (subdomain.id,), prompt, parse, schema, n_expected=n_expected)
        if reply.value is None:
            self.notes.append(f'no assertions of "{subdomain.name}" were given: its clauses are used as they stand')
        self._set_assertions(subdomain, reply.value or ())
        self._pool.add(partial(self._plan_types, subdomain), first=True)

    def _set_assertions(self, subdomain: Subdomain, entries: Iterable[forms.AssertionEntry]) -> None:
        """Take what the author says that the clauses assert; each clause that it left out asserts itself."""
        own = set(subdomain.positions)
        found: list[tuple[int, Assertion]] = []
        for entry in entries:
            position = entry.clause - 1
            if position in own:
                assertion = Assertion(
                    clause_id=self._outline.clauses[position].id,
                    name=entry.name,
                    text=entry.assertion,
                    explanation=entry.explanation,
                    label=entry.label,
                )
                found.append((position, assertion))
        if left := sorted(own - {position for position, _ in found}):
            found += zip(left, assertions_of(self._outline, left, self._templates), strict=True)
        found.sort(key=lambda pair: pair[0])
        subdomain.assertion_positions = tuple(position for position, _ in found)
        subdomain.assertions = tuple(assertion for _, assertion in found)

    # Steps 4 and 5 -------------------------------------------------------------------------------------------------

    async def _plan_types(self, subdomain: Subdomain) -> None:
        n_ideas = n_ideas_by_type(subdomain.n_documents, self._size)
        n_at = Counter(subdomain.assertion_positions)
        weights = [self._weights[position] / n_at[position] for position in subdomain.assertion_positions]
        dealt = Dealer(weights).deal(n_ideas, all_dealt=self._size.all_dealt)
        parse = forms.reader(forms.DocTypes, lambda reply: reply.doc_types)
        slots = self._slots(subdomain)
        prompt = "rule_doc_types" if self._is_rules else "doc_types"
        given = await _all(self._batches(prompt, subdomain.id, len(n_ideas), forms.DocTypes, parse, slots))
        types = [(entry.name, entry.description) for entry in given]
        if not types:
            self.notes.append(f'no document types for "{subdomain.name}" were given: shipped ones are used')
            shipped = [one for one in self._templates.doc_types if self._mode in one.modes]
            types = [(one.name, one.description) for one in shipped[: len(n_ideas)]]
        self._note_short(f'document types for "{subdomain.name}"', len(n_ideas), len(types))
        self.subdomains.append(subdomain)
        for number, ((name, description), groups) in enumerate(zip(types, dealt, strict=False)):
            type_id, order = id_of(subdomain.id, name, description), (*subdomain.order, number)
            doc_type = PlannedType(type_id, order, subdomain, name, description)
            subdomain.doc_types.append(doc_type)
            focuses = [tuple(sorted({*subdomain.head, *group})) for group in groups]
            self._pool.add(partial(self.plan_ideas, doc_type, focuses), first=True)

    async def plan_ideas(self, doc_type: PlannedType, focuses: Sequence[tuple[int, ...]], more: str = "") -> None:
        """Have an idea for each focus, and each handed on as soon as it exists.

        Args:
            doc_type: the type.
            focuses: for each idea, the indices of the assertions that it turns on.
            more: what tells further ideas, wanted later, from those of the plan.
        """
        parse = forms.reader(forms.Ideas, lambda reply: reply.ideas)
        parent_id = id_of(doc_type.id, more) if more else doc_type.id
        type_slots = {"doc_type": doc_type.name, "type_description": doc_type.description}
        slots = {**self._slots(doc_type.subdomain), **type_slots}

        def focus_slot(wanted: ListRound) -> dict[str, str]:
            batch = focuses[wanted.n_have : wanted.n_have + wanted.n_wanted]
            numbers = (", ".join(str(one + 1) for one in group) for group in batch)
            return {"focus": "\n".join(f"- idea {index}: {own}" for index, own in enumerate(numbers, start=1))}

        n = 0
        taken = tuple(doc_type.idea_names) if more else ()
        prompt = "rule_ideas" if self._is_rules else "ideas"
        async for ideas in self._batches(
            prompt, parent_id, len(focuses), forms.Ideas, parse, slots, more_slots=focus_slot, taken=taken
        ):
            for idea in ideas:
                doc_type.idea_names.append(idea.name)
                self._on_idea(doc_type, focuses[n], idea)
                n += 1
        self._note_short(f'ideas for "{doc_type.name}" on "{doc_type.subdomain.name}"', len(focuses), n)

    # Helpers -------------------------------------------------------------------------------------------------------

    def _batches(
        self,
        prompt: str,
        parent_id: str,
        n_wanted: int,
        form: type[Strict],
        parse: Callable[[str], Sequence[NamedType]],
        slots: dict[str, str],
        *,
        more_slots: Callable[[ListRound], dict[str, str]] = lambda _: {},
        taken: Sequence[str] = (),
        n_numbered: int = 0,
    ) -> AsyncIterator[list[NamedType]]:
        """Have a list made, and give its entries as they come; `n_numbered` clauses or rules stand in it by number."""
        template, stage = PROMPTS.template(prompt), prompt.removeprefix("rule_")

        async def ask(wanted: ListRound) -> Sequence[NamedType] | None:
            existing = "\n".join(f"- {name}" for name in wanted.names[-_MAX_NAMES_SHOWN:])
            n = str(wanted.n_wanted)
            list_slots = {"n": n, "existing": PROMPTS.fill("more", existing=existing, n=n) if existing else ""}
            filled = template.fill({**self._names, **slots, **more_slots(wanted), **list_slots})
            n_expected = wanted.n_wanted * LIST_TOKENS[stage] + n_numbered * RUN_TOKENS // CLAUSES_PER_RUN
            reply = await self._sender.ask(
                stage, (parent_id, str(wanted.draw)), filled, parse, self._schemas[form], n_expected=n_expected
            )
            # A request that failed would fail again.
            return None if reply.outcome.kind == "failed" else reply.value or ()

        return sample_list(ask, n_wanted, name=lambda entry: entry.name, taken=taken)

    def _slots(self, subdomain: Subdomain) -> dict[str, str]:
        lines = []
        for index, one in enumerate(subdomain.assertions, start=1):
            reason = f" Reason given: {one.explanation}" if one.explanation else ""
            whole = one.text if self._is_rules else f"{one.name} ({one.label}): {one.text}{reason}"
            lines.append(f"{index}. {whole}")
        return {
            **self._names,
            "domain": subdomain.domain,
            "subdomain": subdomain.name,
            "context": subdomain.context,
            "assertions": "\n".join(lines),
        }

    def _positions(self, passages: Sequence[forms.Passage]) -> set[int]:
        return forms.positions_of(passages, len(self._texts))

    def _n_documents(self, weights: Sequence[float], total: int) -> list[int]:
        """Return the documents for each part; where types and ideas give them exactly, each part counts alike."""
        return [1] * len(weights) if self._size.n_documents is None else apportion(total, weights)

    def _note_short(self, what: str, n_wanted: int, n: int) -> None:
        if n < n_wanted:
            self.notes.append(f"{n_wanted} {what} were wanted, {n} came")


async def _all(batches: AsyncIterator[list[NamedType]]) -> list[NamedType]:
    return [entry async for batch in batches for entry in batch]


def _rule_name(unit: Unit) -> str:
    return f"{unit.rule_id} {unit.name}".strip() if unit.name != unit.rule_id else unit.rule_id
