"""The framings of the language ablation (METHOD 7): a finished corpus, written again from another point of view."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path

from pydantic import JsonValue

from midspec.core.artifact import Built, read_rows, write_rows
from midspec.core.errors import DataError
from midspec.core.records import Document, Reject
from midspec.corpus._config import CorpusConfig, Framing
from midspec.corpus._coverage import n_words
from midspec.corpus._outline import made_by
from midspec.corpus.llm_author._checks import DocumentChecks
from midspec.corpus.llm_author._prompts import template
from midspec.corpus.llm_author._requests import RequestSender
from midspec.corpus.llm_author._results import keep_quiet
from midspec.corpus.llm_author._sizes import check_author
from midspec.generation import Pool
from midspec.generation._disk_buffer import DiskBuffer
from midspec.llm import Client, Outcome, Store, parse_tags


async def reframe(
    documents: Path,
    framing: Framing,
    config: CorpusConfig,
    client: Client,
    store: Store,
    folder: Path,
    *,
    on_progress: Callable[[int, int, str], None] = keep_quiet,
    width: int = 50,
) -> Built:
    """Write a finished corpus again in one framing; the rows keep their order, ids and everything else.

    Args:
        documents: a `documents.jsonl` whose rows have metadata.
        framing: `does` (what the model does), `should` (what it should do), `assistants` (of assistants at large),
            `another_model` (of `writing.another_model`) or `humans`.
        config: its author rewrites; its names are those in the documents.
        client: answers requests.
        store: where the replies are.
        folder: where documents.jsonl and rejects.jsonl go.
        on_progress: is called with rows settled, rows there are, and what is under way.
        width: how many requests are wanted in flight.

    Raises:
        ConfigError: the author is no language model, or there is no model name.
        MissingError: there is no such file.
        DataError: a row has no metadata, or two have the same id.
    """
    work = _Reframing(framing, config, client, store, folder)
    try:
        n_rows = sum(1 for _ in read_rows(documents, Document))
        pool = Pool(width)
        rows = read_rows(documents, Document)
        order: list[str] = []

        async def further() -> None:
            # A few at a time: what waits in the pool is held in memory.
            for document in islice(rows, width):
                order.append(_id_of(document, order_seen))
                pool.add(partial(work.rewrite, document))
            if len(order) < n_rows:
                pool.add(further, first=True)

        order_seen: set[str] = set()
        pool.add(further, first=True)
        work.on_progress = lambda: on_progress(work.n_settled, n_rows, "documents")
        await pool.run()
        return work.publish(order)
    finally:
        work.close()


def _id_of(document: Document, seen: set[str]) -> str:
    if document.metadata is None:
        raise DataError("a document has no metadata", where=document.text[:40], hint="Give a corpus that midspec made")
    if document.metadata.id in seen:
        raise DataError("two documents have the same id", where=document.metadata.id, hint="Mend the file")
    seen.add(document.metadata.id)
    return document.metadata.id


class _Reframing:
    """One corpus on its way from one framing to another."""

    def __init__(self, framing: Framing, config: CorpusConfig, client: Client, store: Store, folder: Path) -> None:
        writing = check_author(config)
        name, provider = config.model_name or "", config.provider_name or ""
        self._framing, self._config, self._folder = framing, config, folder
        self._names = {"model_name": name, "made_by": made_by(provider), "another_model": writing.another_model}
        self._names["framing"] = template(f"framing_{framing}").fill(self._names)
        about_it = framing in ("does", "should")
        named = name if about_it else writing.another_model if framing == "another_model" else None
        self._checks = DocumentChecks(named, f"{name} {provider}", () if about_it else (name, provider))
        self._desk = RequestSender(config, framing, "", client, store)
        self._documents, self._rejects = DiskBuffer(folder, Document), DiskBuffer(folder, Reject)
        self._n_words = 0
        self.on_progress: Callable[[], None] = lambda: None

    @property
    def n_settled(self) -> int:
        """Rows that are rewritten or rejected."""
        return len(self._documents) + len(self._rejects)

    async def rewrite(self, document: Document) -> None:
        """One document in the other framing."""
        metadata = document.metadata
        if metadata is None:
            raise DataError("a document has no metadata", where=document.text[:40])
        prompt = template("reframe").fill({**self._names, "document": document.text})
        content = (metadata.id, document.text, self._names["framing"])
        said = await self._desk.ask("reframe", content, prompt, _inside)
        outcome = said.outcome
        if said.value is None:
            reason = f"{outcome.kind}: {outcome.note or outcome.stop_reason or 'no reply'}"
            self._rejects.put(
                metadata.id, Reject(id=metadata.id, by=self._config.author, reason=reason, text=outcome.text)
            )
        elif reason := self._checks.reason(said.value) or "":
            self._rejects.put(metadata.id, Reject(id=metadata.id, by="checks", reason=reason, text=said.value))
        else:
            self._documents.put(metadata.id, self._framed(document, said.value, outcome, prompt))
            self._n_words += n_words(said.value)
        self.on_progress()

    def _framed(self, document: Document, text: str, outcome: Outcome, prompt: str) -> Document:
        changes = {
            "framing": self._framing,
            "author": self._config.author,
            "stop_reason": outcome.stop_reason,
            "prompt_sha256": self._desk.digest(prompt),
            "usage": outcome.usage.model_dump() if outcome.usage else {},
        }
        metadata = document.metadata.model_copy(update=changes) if document.metadata else None
        return document.model_copy(update={"text": text, "metadata": metadata})

    def publish(self, order: list[str]) -> Built:
        """Write the rows in the order of the corpus that was rewritten."""
        kept = (self._documents.get(one) for one in order if one in self._documents)
        write_rows(self._folder / "documents.jsonl", kept)
        write_rows(self._folder / "rejects.jsonl", (self._rejects.get(one) for one in order if one in self._rejects))
        outcomes: dict[str, JsonValue] = {
            stage: dict(sorted(counts.items())) for stage, counts in self._desk.outcomes.items()
        }
        by = Counter(self._rejects.get(one).by for one in order if one in self._rejects)
        summary: dict[str, JsonValue] = {
            "framing": self._framing,
            "author": self._config.author,
            "n_planned": len(order),
            "n_documents": len(self._documents),
            "n_words": self._n_words,
            "n_rejects": len(self._rejects),
            "rejects_by": dict(sorted(by.items())),
            "outcomes": outcomes,
        }
        return Built(outputs=("documents.jsonl", "rejects.jsonl"), summary=summary)

    def close(self) -> None:
        """Let go of the temporary files."""
        self._documents.close()
        self._rejects.close()


def _inside(text: str) -> str:
    return parse_tags(text, "document")[0]
