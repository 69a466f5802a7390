"""The framings of the paper's language ablation: a finished corpus, written again from another point of view."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path

from pydantic import JsonValue

from midspec.core.artifact import Built, ProgressCallback, read_rows, write_rows
from midspec.core.errors import DataError
from midspec.core.records import Document, DocumentMetadata, Reject
from midspec.core.text import estimate_tokens, n_words, unfenced
from midspec.corpus._config import CorpusConfig, Framing
from midspec.corpus.llm_author._documents import DocumentChecks, RequestSender, rejected, trace_of
from midspec.corpus.llm_author._prompts import PROMPTS, made_by
from midspec.corpus.llm_author._sizes import check_author
from midspec.generation import DiskBuffer, Pool
from midspec.llm import Client, Store, parse_tags


async def reframe(
    documents: Path,
    framing: Framing,
    config: CorpusConfig,
    client: Client,
    store: Store,
    folder: Path,
    *,
    on_progress: ProgressCallback = lambda *_: None,
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
    reframing = _Reframing(framing, config, client, store, folder)
    try:
        n_rows = sum(1 for _ in read_rows(documents, Document))
        pool = Pool(width)
        rows = read_rows(documents, Document)
        order: dict[str, None] = {}

        async def add_some() -> None:
            # A few at a time: what waits in the pool is held in memory.
            for document in islice(rows, width):
                metadata = document.metadata
                if metadata is None:
                    hint = "Give a corpus that midspec made"
                    raise DataError("a document has no metadata", where=document.text[:40], hint=hint)
                if metadata.id in order:
                    hint = "Give each row an id of its own"
                    raise DataError("two documents have the same id", where=metadata.id, hint=hint)
                order[metadata.id] = None
                pool.add(partial(reframing.rewrite, document, metadata))
            if len(order) < n_rows:
                pool.add(add_some, first=True)

        pool.add(add_some, first=True)
        reframing.on_settled = lambda: on_progress(reframing.n_settled, n_rows, "documents")
        await pool.run()
        return reframing.save(list(order))
    finally:
        reframing.close()


class _Reframing:
    """Rewrites the documents of one corpus."""

    def __init__(self, framing: Framing, config: CorpusConfig, client: Client, store: Store, folder: Path) -> None:
        writing = check_author(config)
        name, provider = config.model_name or "", config.provider_name or ""
        self._framing, self._config, self._folder = framing, config, folder
        self._names = {"model_name": name, "made_by": made_by(provider), "another_model": writing.another_model}
        self._names["framing"] = PROMPTS.template(f"framing_{framing}").fill(self._names)
        is_about_it = framing in ("does", "should")
        named = name if is_about_it else writing.another_model if framing == "another_model" else None
        self._checks = DocumentChecks(named, f"{name} {provider}", () if is_about_it else (name, provider))
        self._sender = RequestSender(config, framing, "", client, store)
        self._documents, self._rejects = DiskBuffer(folder, Document), DiskBuffer(folder, Reject)
        self._n_words = 0
        self.on_settled: Callable[[], None] = lambda: None

    @property
    def n_settled(self) -> int:
        """Rows that are rewritten or rejected."""
        return len(self._documents) + len(self._rejects)

    async def rewrite(self, document: Document, metadata: DocumentMetadata) -> None:
        """Rewrite one document in the framing."""
        prompt = PROMPTS.template("reframe").fill({**self._names, "document": document.text})
        content = (metadata.id, document.text, self._names["framing"])
        n_expected = 2 * estimate_tokens(document.text)
        reply = await self._sender.ask(
            "reframe", content, prompt, lambda text: unfenced(parse_tags(text, "document")[0]), n_expected=n_expected
        )
        text, outcome = reply.value, reply.outcome
        if text is None:
            self._rejects.put(metadata.id, rejected(metadata.id, self._config.author, outcome))
        elif reason := self._checks.reason(text):
            self._rejects.put(metadata.id, Reject(id=metadata.id, by="checks", reason=reason, text=text))
        else:
            changes = {"framing": self._framing, "author": self._config.author, **trace_of(outcome)}
            changed = metadata.model_copy(update=changes | {"prompt_sha256": self._sender.digest(prompt)})
            self._documents.put(metadata.id, document.model_copy(update={"text": text, "metadata": changed}))
            self._n_words += n_words(text)
        self.on_settled()

    def save(self, order: list[str]) -> Built:
        """Write the rows in the order of the corpus that was rewritten."""
        rejects = [one for one in order if one in self._rejects]
        kept = (self._documents.get(one) for one in order if one in self._documents)
        write_rows(self._folder / "documents.jsonl", kept)
        write_rows(self._folder / "rejects.jsonl", (self._rejects.get(one) for one in rejects))
        outcomes = self._sender.outcomes
        summary: dict[str, JsonValue] = {
            "framing": self._framing,
            "author": self._config.author,
            "n_planned": len(order),
            "n_documents": len(self._documents),
            "n_words": self._n_words,
            "n_rejects": len(self._rejects),
            "rejects_by": dict(sorted(Counter(self._rejects.get(one).by for one in rejects).items())),
            "outcomes": {stage: dict(sorted(counts.items())) for stage, counts in outcomes.items()},
        }
        return Built(outputs=("documents.jsonl", "rejects.jsonl"), summary=summary)

    def close(self) -> None:
        """Let go of the temporary files."""
        self._documents.close()
        self._rejects.close()
