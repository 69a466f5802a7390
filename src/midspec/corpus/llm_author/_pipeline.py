"""A corpus by a language model: METHOD 2 from the domains to the files, without barriers and in bounded memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from itertools import islice
from pathlib import Path

from midspec.core.artifact import Built
from midspec.core.errors import ConfigError
from midspec.core.records import Assertion, Document, DocumentMetadata, PlanRow, Reject, Spec
from midspec.corpus._config import CorpusConfig, Writing
from midspec.corpus._coverage import n_words
from midspec.corpus._names import put_names
from midspec.corpus._outline import Outline, Unit, made_by, outline, prefix_of
from midspec.corpus.llm_author._checks import DocumentChecks, Overused
from midspec.corpus.llm_author._planner import Kind, Planner, Subject
from midspec.corpus.llm_author._prompts import template
from midspec.corpus.llm_author._replies import IdeaEntry
from midspec.corpus.llm_author._requests import RequestSender, id_of
from midspec.corpus.llm_author._results import Authored, keep_all, keep_quiet
from midspec.corpus.llm_author._sizes import check_author, size_of_authored
from midspec.corpus.llm_author._voices import Voices
from midspec.corpus.template_author._templates import load_templates
from midspec.generation import Pool
from midspec.llm import Client, Outcome, Store, parse_tags

_OTHERS_SHOWN = 12
_THIN_ROUNDS = 3
_SPARE_SHARE = 20


async def author_corpus(
    spec: Spec,
    config: CorpusConfig,
    client: Client,
    store: Store,
    folder: Path,
    *,
    accept: Callable[[Document], str | None] = keep_all,
    on_progress: Callable[[int, int, str], None] = keep_quiet,
    width: int = 50,
) -> Built:
    """Have a language model write a corpus, and write documents.jsonl, rejects.jsonl, plan.jsonl and coverage.json.

    What the store holds is not asked again, so a run that was stopped goes on where it was, and with the same replies
    the files are the same, byte for byte.

    Args:
        spec: the spec; its placeholders are filled with the config's names if they are not yet.
        config: what to write; `author` names the model that `client` reaches.
        client: answers requests (`midspec.llm.open_client`).
        store: where the replies are.
        folder: where the files go.
        accept: a filter beside our own checks: why a document is not kept, or `None`.
        on_progress: is called with documents settled, documents wanted, and what is under way.
        width: how many requests are wanted in flight.

    Raises:
        ConfigError: settings that contradict each other or make no sense for this author; a weight that names nothing;
            the budget is used up.
        SpecError: an unfilled placeholder; or rules mode, and the spec holds no numbered rule.
    """
    writer = _Writer(spec, config, client, store, folder, accept, on_progress, width)
    try:
        await writer.write()
        return writer.authored.publish(writer.planner.notes, writer.planner.n_wanted, writer.desk.outcomes)
    finally:
        writer.authored.close()


async def preview_corpus(
    spec: Spec,
    config: CorpusConfig,
    client: Client,
    store: Store,
    n: int,
    *,
    folder: Path,
    accept: Callable[[Document], str | None] = keep_all,
    width: int = 50,
) -> tuple[list[Document], list[Reject]]:
    """Have `n` documents written, each about other clauses, by the same steps as the whole corpus.

    What is asked here is part of the whole and is not paid for again when the whole is made from the same store.

    Args:
        spec: the spec.
        config: what the whole corpus is to be.
        client: answers requests.
        store: where the replies are.
        n: how many documents.
        folder: where temporary files may be; nothing is left there.
        accept: a filter beside our own checks.
        width: how many requests are wanted in flight.

    Returns:
        The documents, and what was not kept.

    Raises:
        ConfigError: as for `author_corpus`.
        SpecError: as for `author_corpus`.
    """
    check_author(config)
    narrow = config.model_copy(update={"n_documents": n, "target_tokens": None, "ideas": None, "doc_types": None})
    writer = _Writer(spec, narrow, client, store, folder, accept, keep_quiet, width, preview=True)
    try:
        await writer.write()
        return list(writer.authored.documents()), list(writer.authored.rejected())
    finally:
        writer.authored.close()


class _Writer:
    """Writes the documents of one corpus as their ideas come."""

    def __init__(
        self,
        spec: Spec,
        config: CorpusConfig,
        client: Client,
        store: Store,
        folder: Path,
        accept: Callable[[Document], str | None],
        on_progress: Callable[[int, int, str], None],
        width: int,
        *,
        preview: bool = False,
    ) -> None:
        self._writing = check_author(config)
        named = put_names(spec, config.model_name, config.provider_name)
        name = config.model_name or ""
        self._config, self._accept, self._tell = config, accept, on_progress
        self._found = _outline(spec, config)
        weights = _weights(named, self._found, self._writing)
        self._min = [self._writing.min_documents if weight else 0 for weight in weights]
        self.desk = RequestSender(config, named.sha256, prefix_of(named, name, config.provider_name), client, store)
        self._pool = Pool(width)
        self._n_thin_rounds = 0 if preview else _THIN_ROUNDS
        size = replace(size_of_authored(len(self._found.clauses), config), all_dealt=not preview)
        self.planner = Planner(
            self.desk,
            self._pool,
            config,
            size,
            self._found,
            cache(lambda: load_templates("english")),
            weights,
            self._plan,
        )
        self.authored = Authored(folder, self._found, config)
        self._voices = Voices(name, self._writing.mean_tokens)
        self._overused = Overused(self.desk.prefix)
        self._checks = DocumentChecks(name, self.desk.prefix)
        self._names = {"model_name": name, "made_by": made_by(config.provider_name)}

    async def write(self) -> None:
        """Write everything that is planned; then further documents about clauses that have too few.

        Those take the place of rejects; where the size was not given as a number of documents, a few may be added.
        """
        self.planner.start()
        await self._pool.run()
        self.authored.drop_copies()
        exact = self._config.n_documents is not None or self._config.ideas is not None
        spare = self.authored.n_rejected + (0 if exact else self.authored.n_planned // _SPARE_SHARE)
        for turn in range(self._n_thin_rounds):
            n_before = self.authored.n_planned
            for kind, focuses in self._thin(turn, spare):
                self._pool.add(partial(self.planner.ideas, kind, focuses, f"thin:{turn}"), first=True)
            await self._pool.run()
            self.authored.drop_copies()
            spare -= self.authored.n_planned - n_before
        self.planner.notes += [*self.authored.thin_notes(self._min), *self.authored.length_notes()]

    # Planning ------------------------------------------------------------------------------------------------------

    def _plan(self, kind: Kind, focus: tuple[int, ...], entry: IdeaEntry) -> None:
        subject = kind.subject
        claims = tuple(subject.claims[one] for one in focus)
        about = sorted({subject.places[one] for one in focus})
        row = PlanRow(
            id=id_of(kind.id, entry.name, entry.idea, *(self._found.clauses[place].id for place in about)),
            mode=self._config.mode,
            domain=subject.domain,
            subdomain=subject.name,
            context=subject.context,
            section_id=self._found.clauses[about[0]].section_id,
            assertions=claims,
            doc_type=kind.name,
            idea_name=entry.name,
            idea=entry.idea,
        )
        self.authored.plan((*kind.order, len(kind.ideas)), row)
        self._pool.add(partial(self._document, row, kind, focus, about))

    def _thin(self, turn: int, spare: int) -> list[tuple[Kind, list[tuple[int, ...]]]]:
        """Further documents about clauses with too few of them, by type; no more than `spare` in all."""
        found: list[tuple[Kind, list[tuple[int, ...]]]] = []
        promised: Counter[int] = Counter()
        for subject in sorted(self.planner.subjects, key=lambda one: one.order):
            missing: dict[int, list[tuple[int, ...]]] = {}
            for index, place in enumerate(subject.places if subject.kinds else ()):
                lacking = self._min[place] - self.authored.about(place) - promised[place]
                for number in range(min(lacking, spare - promised.total())):
                    focus = tuple(sorted({*subject.head, index}))
                    missing.setdefault((turn + index + number) % len(subject.kinds), []).append(focus)
                    promised[place] += 1
            found += [(subject.kinds[order], focuses) for order, focuses in missing.items()]
        return found

    # Writing -------------------------------------------------------------------------------------------------------

    async def _document(self, row: PlanRow, kind: Kind, focus: tuple[int, ...], about: Sequence[int]) -> None:
        slots = self._slots(row, kind, focus)
        words = template("rule_document" if row.mode == "rules" else "document")
        prompt = words.fill(slots)
        sha256 = self.desk.digest(prompt)
        if avoid := self._overused.line():
            prompt = words.fill({**slots, "avoid": avoid})
        said = await self.desk.ask("document", (row.id,), prompt, _document_of)
        text, outcome = said.value, said.outcome
        if text is not None and self._writing.critique:
            text, outcome = await self._revised(row, slots, text, outcome)
        self._settle(row, text, outcome, about, sha256)

    def _slots(self, row: PlanRow, kind: Kind, focus: tuple[int, ...]) -> dict[str, str]:
        subject = kind.subject
        rules = row.mode == "rules"
        return {
            **self._names,
            **self._voices.draw(f"{self._config.seed}:{row.id}"),
            "doc_type": row.doc_type,
            "type_description": kind.description,
            "domain": row.domain,
            "subdomain": row.subdomain,
            "idea_name": row.idea_name.rstrip("."),
            "idea": row.idea,
            "focus": "\n".join(_focus_line(claim, rules) for claim in row.assertions),
            "others": _others(subject, focus),
            "rule": subject.rule or subject.name,
            "avoid": "",
        }

    async def _revised(self, row: PlanRow, slots: dict[str, str], draft: str, outcome: Outcome) -> tuple[str, Outcome]:
        """The document written again after a critique; the draft where either step gives nothing."""
        slots = {**slots, "draft": draft}
        parent = (row.id, id_of(draft))
        words = template("rule_critique" if row.mode == "rules" else "critique")
        critique = await self.desk.ask("critique", parent, words.fill(slots), _critique_of)
        if critique.value is None:
            return draft, outcome
        prompt = template("revise").fill({**slots, "critique": critique.value})
        revised = await self.desk.ask("revise", (*parent, id_of(critique.value)), prompt, _revision_of)
        return (draft, outcome) if revised.value is None else (revised.value, revised.outcome)

    def _settle(self, row: PlanRow, text: str | None, outcome: Outcome, about: Sequence[int], sha256: str) -> None:
        """Keep the row's document, or say why there is none."""
        if text is None:
            reason = f"{outcome.kind}: {outcome.note or outcome.stop_reason or 'no reply'}"
            self.authored.reject(row, Reject(id=row.id, by=self._config.author, reason=reason, text=outcome.text))
        else:
            self._overused.add(text)
            digest = id_of(text)
            document = self._made(row, text, outcome, about, digest, sha256)
            reason_of_ours = self._checks.reason(text)
            reason_given = None if reason_of_ours else self._accept(document)
            if reason_of_ours or reason_given:
                by, why = ("checks", reason_of_ours) if reason_of_ours else ("filter", reason_given)
                self.authored.reject(row, Reject(id=row.id, by=by, reason=why or "", text=text))
            else:
                self.authored.keep(row, document, about, digest)
        self._tell(self.authored.n_settled, max(self.planner.n_wanted, self.authored.n_planned), "documents")

    def _made(
        self, row: PlanRow, text: str, outcome: Outcome, about: Sequence[int], digest: str, sha256: str
    ) -> Document:
        config = self._config
        metadata = DocumentMetadata(
            id=id_of(row.id, digest),
            author=config.author,
            plan_id=row.id,
            clause_ids=tuple(self._found.clauses[place].id for place in about),
            subdomain=row.subdomain,
            doc_type=row.doc_type,
            idea=row.idea,
            model_name=config.model_name or "",
            provider_name=config.provider_name or "",
            spec_sha256=self._found.sha256,
            seed=config.seed,
            stop_reason=outcome.stop_reason,
            prompt_sha256=sha256,
            usage=outcome.usage.model_dump() if outcome.usage else {},
        )
        source = f"{config.model_name}/{row.doc_type}"
        return Document(text=text, source=source, domain=row.domain, metadata=metadata)


def _document_of(text: str) -> str:
    return parse_tags(text, "plan", "document")[1]


def _critique_of(text: str) -> str:
    return parse_tags(text, "critique")[0]


def _revision_of(text: str) -> str:
    return parse_tags(text, "document")[0]


def _focus_line(claim: Assertion, rules: bool) -> str:
    if rules:
        return f"- {claim.text}"
    return f"- {claim.text}" + (f" The spec's reason: {claim.explanation}" if claim.explanation else "")


def _others(subject: Subject, focus: tuple[int, ...]) -> str:
    others = (claim.name for index, claim in enumerate(subject.claims) if index not in focus)
    names = list(islice(others, _OTHERS_SHOWN))
    if not names or subject.rule:
        return ""
    return f"It may touch on what else the spec says on the subject ({'; '.join(names)}), where that comes by itself.\n"


def _outline(spec: Spec, config: CorpusConfig) -> Outline:
    """The spec by its own structure; in rules mode what stands between rules goes with the next one."""
    found = outline(spec, config, load_templates("english"))
    if config.mode == "prose":
        return found
    units: list[Unit] = []
    waiting: tuple[int, ...] = ()
    for unit in found.units:
        if not unit.rule_id:
            waiting += unit.positions
            continue
        units.append(_with(unit, waiting))
        waiting = ()
    units[-1] = _with(units[-1], waiting)
    return Outline(found.title, found.sha256, found.clauses, found.labels, tuple(units))


def _with(unit: Unit, positions: tuple[int, ...]) -> Unit:
    # The rule's own clause stays first.
    return Unit(unit.domain, unit.name, unit.context, unit.section_id, (*unit.positions, *positions), unit.rule_id)


def _weights(spec: Spec, found: Outline, writing: Writing) -> list[float]:
    """For each clause, its length in words times the factor that its section or it itself was given."""
    given = writing.weights
    titles = {section.id: section.title for section in spec.sections}
    known = {*titles.values(), *(clause.id for clause in found.clauses)}
    if unknown := sorted(set(given) - known):
        hint = "Give titles of sections and ids of clauses as `midspec spec show` prints them"
        raise ConfigError(f"{unknown[0]!r} is no section and no clause", where="corpus.writing.weights", hint=hint)
    weights = []
    for clause in found.clauses:
        factor = given.get(clause.id, given.get(titles[clause.section_id], 1.0))
        weights.append(factor * max(1, n_words(clause.text)))
    return weights
