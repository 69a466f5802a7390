"""Whether documents are faithful to their spec, by a model that judges: keep, reject, or hold where it is unclear."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from midspec.core.artifact import ProgressCallback
from midspec.core.errors import ConfigError
from midspec.core.fingerprint import fingerprint
from midspec.core.records import Document, Spec, Strict
from midspec.core.text import estimate_tokens
from midspec.curate._config import CurateConfig
from midspec.curate._rows import RowSource, open_source, row_id
from midspec.generation import Pool, PromptFolder
from midspec.llm import Client, ModelConfig, Request, Store, UnreadableReplyError, converse, parse_tags

Decision = Literal["keep", "reject", "hold"]

STAGE, CALIBRATION_STAGE = "faithfulness", "faithfulness calibration"

PROMPTS = PromptFolder("midspec.curate")
_MAX_TOKENS = 2000
# Tokens of a verdict with its reason and some reasoning before it, for forecasts.
TYPICAL_TOKENS = 300
_NO_CLAUSES = "(The document names no part; judge it by the whole specification.)"


class DocumentVerdict(Strict):
    """What the judge says of one document. Without a readable verdict it is held, and `answered` is false."""

    verdict: Decision
    reason: str
    answered: bool = True


def check_judged(source: RowSource, config: CurateConfig) -> None:
    """Refuse chats, and a calibration without the name of a model."""
    if source.kind != "documents":
        raise ConfigError("are judged where they are written", where="chats", hint="Curate them without a judge")
    if config.calibrate_each and not config.model_name:
        raise ConfigError("is needed to plant violations", where="model_name", hint="Give the model's name")


class JudgedSize(NamedTuple):
    """How many documents a judge is asked about; tokens of their texts, and of the clauses that they claim, in all."""

    n_documents: int
    n_tokens: int
    n_clause_tokens: int

    @classmethod
    def of_rows(cls, documents: Iterable[Document], clauses: Mapping[str, str]) -> JudgedSize:
        """Count documents, as if the filters let all of them pass; `clauses` are texts by id."""
        n_documents = n_tokens = n_clause_tokens = 0
        for document in documents:
            n_documents += 1
            n_tokens += estimate_tokens(document.text)
            n_clause_tokens += sum(map(estimate_tokens, claimed_clauses(document, clauses)))
        return cls(n_documents, n_tokens, n_clause_tokens)

    @classmethod
    def of_folder(cls, path: Path, config: CurateConfig, clauses: Mapping[str, str]) -> JudgedSize:
        """Count the documents of a folder or file.

        Args:
            path: as `documents` of `judge_folder`.
            config: of the curation.
            clauses: texts by id.

        Raises:
            MissingError, DataError: no rows there, or malformed ones.
            ConfigError: as in `judge_folder`.
        """
        check_judged(source := open_source(path), config)
        return cls.of_rows((row for row in source.rows() if isinstance(row, Document)), clauses)


@dataclass(frozen=True)
class Judge:
    """A model that judges documents by their spec.

    Attributes:
        client: sends requests; opened for the role `judge`.
        store: keeps every reply, so that a run that was stopped asks for none twice.
        model: which model judges; it is part of what identifies a verdict.
        prefix: the spec, in the same words for every document, so that providers cache it.
        clauses: clause id -> text.
        model_name: the assistant that the documents are about.
        width: how many requests are wanted in flight.
    """

    client: Client
    store: Store
    model: ModelConfig
    prefix: str
    clauses: Mapping[str, str] = field(default_factory=dict)
    model_name: str = "the assistant"
    width: int = 50

    async def judge(self, document: Document, *, stage: str = STAGE) -> DocumentVerdict:
        """Judge one document; a reply that is refused, cut or unreadable makes it held, with the reason."""
        reply = await converse(self.client, self.store, self.request(document, stage), _parse_verdict)
        if reply.value is not None:
            return reply.value
        outcome = reply.outcome
        why = f"no verdict ({outcome.kind}{': ' if outcome.note else ''}{outcome.note})"
        return DocumentVerdict(verdict="hold", reason=why, answered=False)

    def request(self, document: Document, stage: str = STAGE) -> Request:
        """Return the request about a document. Its task depends on the text and the clauses, not on the id."""
        listed = "\n".join(f"- {' '.join(text.split())}" for text in claimed_clauses(document, self.clauses))
        prompt = PROMPTS.fill("faithful", model=self.model_name, clauses=listed or _NO_CLAUSES, candidate=document.text)
        identity = {"model": self.model, "prefix": self.prefix, "prompt": prompt, "model_name": self.model_name}
        task = f"judge-{fingerprint(identity)}"
        return Request(task=task, stage=stage, prefix=self.prefix, prompt=prompt, max_tokens=_MAX_TOKENS)


def claimed_clauses(document: Document, clauses: Mapping[str, str]) -> list[str]:
    """Return the texts of those clauses that the document says it is about and that are known."""
    ids = document.metadata.clause_ids if document.metadata is not None else ()
    return [clauses[clause_id] for clause_id in ids if clause_id in clauses]


def _parse_verdict(text: str) -> DocumentVerdict:
    word, reason = parse_tags(text, "verdict", "reason")
    for decision in get_args(Decision):
        if word.casefold() == decision:
            return DocumentVerdict(verdict=decision, reason=" ".join(reason.split()))
    raise UnreadableReplyError(f"the verdict is {word[:40]!r}; it must be keep, reject or hold, and nothing else")


async def judge_documents(
    documents: Iterable[Document],
    judge: Judge,
    on_verdict: Callable[[Document, DocumentVerdict], None],
    *,
    stage: str = STAGE,
    on_progress: ProgressCallback | None = None,
    n_documents: int = 0,
) -> None:
    """Judge documents as they come, as many at once as the judge takes, and hold none in memory longer than needed.

    Args:
        documents: gone through once.
        judge: judges them.
        on_verdict: called with each document and its verdict, in the order in which verdicts arrive.
        stage: the name under which requests are counted.
        on_progress: called after each.
        n_documents: how many there are, for `on_progress`.

    Raises:
        MidspecError: what ends the run (the budget is used up, the key is refused).
    """
    waiting, pool, n_done = iter(documents), Pool(judge.width), 0

    async def judge_next() -> None:
        nonlocal n_done
        document = next(waiting, None)
        if document is None:
            return
        # The place of a piece of work that ends is taken by the next document; no list of all of them is made.
        verdict = await judge.judge(document, stage=stage)
        on_verdict(document, verdict)
        n_done += 1
        if on_progress is not None:
            on_progress(n_done, n_documents, f"judged {row_id(document)}: {verdict.verdict}")
        pool.add(judge_next)

    for _ in range(2 * judge.width):
        pool.add(judge_next)
    await pool.run()


def judge_prefix(spec: Spec) -> str:
    """Return the prefix of every request to the judge: the spec, verbatim, its names filled in."""
    return PROMPTS.fill("spec", spec=spec.text.strip())
