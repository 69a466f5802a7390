"""A corpus by a language model: the paper's pipeline (arXiv 2605.02087) from the domains to the files.

Without barriers, and in bounded memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from midspec.core.artifact import Built, ProgressCallback
from midspec.core.errors import ConfigError
from midspec.core.fingerprint import id_of
from midspec.core.records import Document, PlanRow, Reject, Spec
from midspec.core.text import n_words
from midspec.corpus._config import CorpusConfig, Writing
from midspec.corpus._outline import Outline, join_unnumbered, outline
from midspec.corpus._results import CorpusRows
from midspec.corpus.llm_author._documents import DocumentWriter, PlannedType, RequestSender
from midspec.corpus.llm_author._forms import IdeaEntry
from midspec.corpus.llm_author._planner import Planner
from midspec.corpus.llm_author._prompts import prefix_of
from midspec.corpus.llm_author._sizes import check_author, size_of_authored
from midspec.corpus.template_author._templates import load_templates
from midspec.generation import Pool
from midspec.llm import Client, Store
from midspec.spec import fill_by

_N_TOP_UPS = 3
_SPARE_SHARE = 20


async def author_corpus(
    spec: Spec,
    config: CorpusConfig,
    client: Client,
    store: Store,
    folder: Path,
    *,
    accept: Callable[[Document], str | None] = lambda _: None,
    on_progress: ProgressCallback = lambda *_: None,
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
        MidspecError: no reply of the run can be used.
        SpecError: an unfilled placeholder; or rules mode, and the spec holds no numbered rule.
    """
    pipeline = _Pipeline(spec, config, client, store, folder, accept, on_progress, width)
    try:
        await pipeline.run(_N_TOP_UPS)
        pipeline.sender.usable.check_end()
        return pipeline.rows.save(pipeline.planner.notes, pipeline.planner.n_wanted, pipeline.sender.outcomes)
    finally:
        pipeline.rows.close()


async def preview_corpus(
    spec: Spec,
    config: CorpusConfig,
    client: Client,
    store: Store,
    n: int,
    *,
    folder: Path,
    accept: Callable[[Document], str | None] = lambda _: None,
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
    pipeline = _Pipeline(spec, narrow, client, store, folder, accept, lambda *_: None, width, all_dealt=False)
    try:
        await pipeline.run(n_top_ups=0)
        return list(pipeline.rows.documents()), list(pipeline.rows.rejects())
    finally:
        pipeline.rows.close()


class _Pipeline:
    """Has the documents of one corpus written as their ideas come.

    Args:
        all_dealt: as in `Size`.
    """

    def __init__(
        self,
        spec: Spec,
        config: CorpusConfig,
        client: Client,
        store: Store,
        folder: Path,
        accept: Callable[[Document], str | None],
        on_progress: ProgressCallback,
        width: int,
        *,
        all_dealt: bool = True,
    ) -> None:
        writing = check_author(config)
        self._config, self._on_progress = config, on_progress
        templates = load_templates("english")
        named = fill_by(spec, config)
        found = outline(spec, config, templates)
        self._outline = join_unnumbered(found) if config.mode == "rules" else found
        weights = _clause_weights(named, self._outline, writing)
        self._min_documents = [writing.min_documents if weight else 0 for weight in weights]
        prefix = prefix_of(named, config.model_name or "", config.provider_name)
        self.sender = RequestSender(config, named.sha256, prefix, client, store)
        self._pool = Pool(width)
        size = replace(size_of_authored(len(found.clauses), config), all_dealt=all_dealt)
        self.planner = Planner(
            self.sender, self._pool, config, size, self._outline, templates, weights, on_idea=self._plan_document
        )
        self.rows = CorpusRows(folder, self._outline, config)
        self._documents = DocumentWriter(self.sender, config, self._outline, self.rows, accept, self._tell)

    async def run(self, n_top_ups: int) -> None:
        """Write everything that is planned; then further documents about clauses that have too few.

        Those take the place of rejects; where the size was not given as a number of documents, a few may be added.
        """
        self.planner.start()
        await self._pool.run()
        self.rows.drop_copies()
        is_exact = self._config.n_documents is not None or self._config.ideas is not None
        n_spare = self.rows.n_rejected + (0 if is_exact else self.rows.n_planned // _SPARE_SHARE)
        for turn in range(n_top_ups):
            n_before = self.rows.n_planned
            for doc_type, focuses in self._top_up(turn, n_spare):
                self._pool.add(partial(self.planner.plan_ideas, doc_type, focuses, f"thin:{turn}"), first=True)
            await self._pool.run()
            self.rows.drop_copies()
            n_spare -= self.rows.n_planned - n_before
        self.planner.notes += self.rows.notes(self._min_documents)
        if self.rows.n_settled == self.rows.n_rejected and self.sender.usable.reasons:
            self.planner.notes.append(f"what became of the requests: {self.sender.usable.words()}")

    def _plan_document(self, doc_type: PlannedType, focus: tuple[int, ...], idea: IdeaEntry) -> None:
        subdomain, clauses = doc_type.subdomain, self._outline.clauses
        clause_ids = [clauses[p].id for p in sorted({subdomain.assertion_positions[index] for index in focus})]
        row = PlanRow(
            id=id_of(doc_type.id, idea.name, idea.idea, *clause_ids),
            mode=self._config.mode,
            domain=subdomain.domain,
            subdomain=subdomain.name,
            context=subdomain.context,
            section_id=clauses[self._outline.position_of[clause_ids[0]]].section_id,
            assertions=tuple(subdomain.assertions[index] for index in focus),
            doc_type=doc_type.name,
            idea_name=idea.name,
            idea=idea.idea,
        )
        self.rows.add_planned((*doc_type.order, len(doc_type.idea_names)), row)
        self._pool.add(partial(self._documents.write, row, doc_type, focus))

    def _top_up(self, turn: int, n_spare: int) -> list[tuple[PlannedType, list[tuple[int, ...]]]]:
        """Plan further documents about clauses with too few of them, by type; no more than `n_spare` in all."""
        planned: list[tuple[PlannedType, list[tuple[int, ...]]]] = []
        n_promised: Counter[int] = Counter()
        for subdomain in sorted(self.planner.subdomains, key=lambda one: one.order):
            focuses: dict[int, list[tuple[int, ...]]] = {}
            for index, position in enumerate(subdomain.assertion_positions if subdomain.doc_types else ()):
                n_lacking = self._min_documents[position] - self.rows.n_about(position) - n_promised[position]
                for number in range(min(n_lacking, n_spare - n_promised.total())):
                    focus = tuple(sorted({*subdomain.head, index}))
                    focuses.setdefault((turn + index + number) % len(subdomain.doc_types), []).append(focus)
                    n_promised[position] += 1
            planned += [(subdomain.doc_types[order], own) for order, own in focuses.items()]
        return planned

    def _tell(self) -> None:
        self._on_progress(self.rows.n_settled, max(self.planner.n_wanted, self.rows.n_planned), "documents")


def _clause_weights(spec: Spec, found: Outline, writing: Writing) -> list[float]:
    """Weigh each clause: its length in words times the factor that its section or it itself was given.

    Raises:
        ConfigError: a factor is given for what is neither.
    """
    factors = writing.weights
    titles = {section.id: section.title for section in spec.sections}
    known = {*titles.values(), *(clause.id for clause in found.clauses)}
    if unknown := sorted(set(factors) - known):
        hint = "Give titles of sections and ids of clauses as `midspec spec show` prints them"
        raise ConfigError(f"{unknown[0]!r} is no section and no clause", where="corpus.writing.weights", hint=hint)
    return [
        factors.get(clause.id, factors.get(titles[clause.section_id], 1.0)) * max(1, n_words(clause.text))
        for clause in found.clauses
    ]
