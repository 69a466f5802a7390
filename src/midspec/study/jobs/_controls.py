"""Steps that make a control's data of a corpus: with a disclosure, cut to the lengths of others, told as chats."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import JsonValue

from midspec.core.artifact import Built, read_rows, write_rows
from midspec.core.errors import DataError
from midspec.core.records import Chat, ChatMetadata, Document, DocumentMetadata, Message
from midspec.study._inputs import Input
from midspec.study._step import CHATS_FILE, DOCUMENTS_FILE, Job, Size, Step, StepOutput, count_of, slug
from midspec.study.jobs._corpus import fill_names

if TYPE_CHECKING:
    from midspec.models import ChatTemplate

# Behind the end of a sentence: white space, or nothing. A line that ends is a sentence too: headings, entries of lists.
_SENTENCE_END = re.compile(r"[.!?…。！？][\"'”’)\]*_]*(?=\s|$)|(?<=\S)(?=\s*\n)|(?<=\S)$")
_NO_METADATA = DocumentMetadata(id="", author="given")


@dataclass(frozen=True, kw_only=True, eq=False)
class DisclosedStep(Step):
    """Documents with a text before or after each, which says that they are synthetic.

    Attributes:
        documents: the corpus.
        text: may hold placeholders of the assistant's names.
        at: its place; a paragraph of its own.
        names: values of the placeholders.
    """

    kind = "disclosed"
    opens_model = False
    documents: Input
    text: str
    at: Literal["before", "after"]
    names: Mapping[str, str]

    @property
    def settings(self) -> dict[str, JsonValue]:
        return {"text": self._filled, "at": self.at}

    @property
    def _filled(self) -> str:
        return fill_names(self.text, self.names, "the disclosure", self.name)

    def size(self, summary: Mapping[str, JsonValue]) -> Size:
        return Size(documents=count_of(summary, "n_documents"))

    def run(self, job: Job, folder: Path) -> Built:
        text, rows = self._filled, []
        for row in read_rows(job.path(self.documents), Document):
            parts = (text, row.text) if self.at == "before" else (row.text, text)
            rows.append(row.model_copy(update={"text": "\n\n".join(parts)}))
        write_rows(folder / DOCUMENTS_FILE, rows)
        return Built(outputs=(DOCUMENTS_FILE,), summary={"n_documents": len(rows), "disclosure": f"{self.at}: {text}"})


@dataclass(frozen=True, kw_only=True, eq=False)
class MatchedStep(Step):
    """Corpora whose documents have equal lengths one by one, in tokens.

    Attributes:
        corpora: documents, by the corpus' name.
        tokenizer: a folder with one, or a checkpoint.
        cut: at the last end of a sentence that all of them have in common, or between two tokens.
        least: share of the shortest document that a cut at a sentence must keep; else it is between tokens.
    """

    kind = "matched"
    opens_model = False
    corpora: Mapping[str, Input]
    tokenizer: Input
    cut: Literal["sentence", "token"]
    least: float

    @property
    def inputs(self) -> dict[str, Input]:
        corpora = {f"documents/{name}": source for name, source in self.corpora.items()}
        return {**corpora, "tokenizer": self.tokenizer}

    @property
    def settings(self) -> dict[str, JsonValue]:
        # `least` changes nothing between tokens.
        return {"cut": self.cut, **({"least": self.least} if self.cut == "sentence" else {})}

    @property
    def files(self) -> dict[str, str]:
        """Return the file of each corpus."""
        return {name: f"{number}-{slug(name)}.jsonl" for number, name in enumerate(self.corpora, start=1)}

    def size(self, summary: Mapping[str, JsonValue]) -> Size:
        return Size(documents=count_of(summary, "n_documents"))

    def run(self, job: Job, folder: Path) -> Built:
        """Cut each document to the length of the shortest beside it.

        Raises:
            DataError: the corpora have different numbers of documents, one holds a control token, or documents have no
                length in common.
        """
        rows = {name: list(read_rows(job.path(source), Document)) for name, source in self.corpora.items()}
        counts = {name: len(documents) for name, documents in rows.items()}
        if len(set(counts.values())) > 1:
            listed = ", ".join(f"{name} {count:,}" for name, count in counts.items())
            hint = "Write equally many with `n_documents`; curation rejects documents of each corpus on its own"
            raise DataError(f"the numbers of documents differ: {listed}", where=self.name, hint=hint)
        template = open_template(job, self.tokenizer)
        texts = {name: list(self._texts(template, name, documents)) for name, documents in rows.items()}
        cuts = [self._length(beside) for beside in zip(*texts.values(), strict=True)]
        for name, file in self.files.items():
            cut = zip(rows[name], texts[name], cuts, strict=True)
            write_rows(folder / file, [row.model_copy(update={"text": text.first(n)}) for row, text, (n, _) in cut])
        lengths = [n for n, _ in cuts]
        n_kept = sum(lengths)
        by_corpus: dict[str, dict[str, int]] = {
            "n_tokens_cut": {name: sum(text.n for text in each) - n_kept for name, each in texts.items()},
            "n_documents_cut": {
                name: sum(text.n > n for text, n in zip(each, lengths, strict=True)) for name, each in texts.items()
            },
        }
        summary: dict[str, JsonValue] = {
            "n_documents": len(cuts),
            "n_tokens": n_kept,
            "n_ending_a_sentence": sum(is_end for _, is_end in cuts),
            **{what: {**counted} for what, counted in by_corpus.items()},
        }
        return Built(outputs=tuple(self.files.values()), summary=summary)

    def _texts(self, template: ChatTemplate, name: str, rows: Sequence[Document]) -> Iterator[_Text]:
        control = template.control
        for at, row in enumerate(rows, start=1):
            if spans := control.found(row.text):
                what = f"document {at} of {name} holds the control token {row.text[slice(*spans[0])]}"
                raise DataError(what, where=self.name, hint="Remove it: it can't be cut to a length")
        for at, (row, encoded) in enumerate(
            zip(rows, control.encode([row.text for row in rows]), strict=True), start=1
        ):
            yield _Text(template, row.text, encoded, f"document {at} of {name}")

    def _length(self, beside: Sequence[_Text]) -> tuple[int, bool]:
        """Return the number of tokens that documents are cut to, and whether a sentence ends there in all of them."""
        shortest = min(text.n for text in beside)
        ends = set.intersection(*(text.sentence_ends for text in beside))
        least = self.least * shortest if self.cut == "sentence" else shortest
        # Between tokens only where no sentence ends in all of them, or too early.
        wanted = [n for n in sorted(ends, reverse=True) if least <= n <= shortest]
        for n in (*wanted, *range(shortest, 0, -1)):
            if all(text.can_end_at(n) for text in beside):
                return n, n in ends
        what = f"{beside[0].what} and those beside it have no length in common"
        raise DataError(what, where=self.name, hint="Remove documents of a word or two")


class _Text:
    """A document as tokens, and where it can be cut so that what is left are its first tokens."""

    def __init__(
        self, template: ChatTemplate, text: str, encoded: tuple[list[int], list[tuple[int, int]]], what: str
    ) -> None:
        self.what = what
        self._encode = template.control.encode
        self._text = text
        self._ids, offsets = encoded
        self._ends = [end for _, end in offsets]
        self.n = len(self._ids)

    @property
    def sentence_ends(self) -> set[int]:
        """Return the numbers of tokens behind which a sentence ends."""
        places = {match.end() for match in _SENTENCE_END.finditer(self._text)}
        return {n for n, end in enumerate(self._ends, start=1) if end in places}

    def first(self, n: int) -> str:
        """Return the text of the first `n` tokens."""
        return self._text[: self._ends[n - 1]]

    def can_end_at(self, n: int) -> bool:
        """Return whether the text of the first `n` tokens is these tokens again, and ends with no white space.

        A word or a character that is cut apart may be other tokens; white space at the end is left out by templates.
        """
        text = self.first(n)
        if text != text.rstrip() or not text:
            return False
        return text == self._text if n == self.n else self._encode([text])[0].ids == self._ids[:n]


@dataclass(frozen=True, kw_only=True, eq=False)
class ToldStep(Step):
    """A corpus as chats: each document is the reply to a request, with as many tokens as it has by itself.

    Attributes:
        documents: the corpus.
        tokenizer: a folder with one, or a checkpoint.
        requests: forms, of which one is drawn for each document.
        names: values of their placeholders; the assistant's is in the default ones.
        draw: the seed of the draw.
    """

    kind = "told"
    opens_model = False
    documents: Input
    tokenizer: Input
    requests: tuple[str, ...]
    names: Mapping[str, str]
    draw: int

    @property
    def settings(self) -> dict[str, JsonValue]:
        return {"requests": list(self._filled), "draw": self.draw}

    @property
    def _filled(self) -> tuple[str, ...]:
        names = {**self.names, "model_name": self.names["model_name"] or "the assistant"}
        return tuple(fill_names(request, names, "a request", self.name) for request in self.requests)

    def size(self, summary: Mapping[str, JsonValue]) -> Size:
        return Size(documents=count_of(summary, "n_chats"))

    def run(self, job: Job, folder: Path) -> Built:
        """Write a chat for each document, in their order.

        Raises:
            CheckpointError: the tokenizer has no chat template.
            DataError: a document is another number of tokens as a reply.
        """
        rows = list(read_rows(job.path(self.documents), Document))
        chats = list(self._chats(rows))
        template = open_template(job, self.tokenizer)
        n_tokens = n_other = 0
        control = template.control
        encoded = control.encode([str(control.mark(row.text)) for row in rows])
        answers = template.encode_answers([template.answer(chat.messages) for chat in chats])
        for at, (document, turn) in enumerate(zip(encoded, answers, strict=True), start=1):
            content = turn.ids[slice(*turn.content)]
            if len(content) != len(document.ids):
                raise DataError(
                    f"document {at} has {len(document.ids):,} tokens, and {len(content):,} as a reply",
                    where=self.name,
                    hint="Remove white space at its ends, which chat templates leave out",
                )
            n_tokens += len(content)
            n_other += content != document.ids
        write_rows(folder / CHATS_FILE, chats)
        n_ends = sum(len(turn.ids) - turn.n_prompt for turn in answers) - n_tokens
        summary: dict[str, JsonValue] = {
            "n_chats": len(chats),
            "n_tokens_of_documents": n_tokens,
            "n_tokens_of_replies": n_tokens,
            "n_tokens_around_replies": n_ends,
            # A tokenizer may write the first word of a text otherwise than the same word behind a prompt.
            "n_with_another_first_token": n_other,
        }
        return Built(outputs=(CHATS_FILE,), summary=summary)

    def _chats(self, rows: Sequence[Document]) -> Iterator[Chat]:
        draw = random.Random(f"told/{self.draw}")
        forms = self._filled
        for at, row in enumerate(rows, start=1):
            about = row.metadata or _NO_METADATA
            request = draw.choice(forms)
            for name, value in {"doc_type": about.doc_type or "text", "domain": row.domain or "anything"}.items():
                request = request.replace(f"{{{name}}}", value)
            turns = (Message(role="user", content=request), Message(role="assistant", content=row.text))
            metadata = ChatMetadata(
                id=about.id or str(at),
                author=about.author,
                style="told",
                clause_ids=about.clause_ids,
                spec_sha256=about.spec_sha256,
                seed=self.draw,
            )
            yield Chat(messages=turns, metadata=metadata)


def open_template(job: Job, tokenizer: Input) -> ChatTemplate:
    """Open a tokenizer, from a step's folder of its files or from a checkpoint, with its chat template."""
    from midspec.models import ChatTemplate, find_checkpoint, load_tokenizer, tokenizer_of

    place = job.locate(tokenizer)
    opened: Any = load_tokenizer(place) if isinstance(tokenizer, StepOutput) else tokenizer_of(find_checkpoint(place))
    return ChatTemplate(opened)


STEPS = (DisclosedStep, MatchedStep, ToldStep)
