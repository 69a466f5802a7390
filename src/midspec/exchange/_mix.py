"""Rows of several sources, filtered, drawn and mixed into one order, with a manifest of where each came from."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

from pydantic import JsonValue

from midspec.core.artifact import Built, writable, write_json
from midspec.core.errors import DataError
from midspec.core.fingerprint import fingerprint, hash_text
from midspec.core.records import Chat, ChatMetadata, Document, DocumentMetadata, Reject
from midspec.exchange._files import Raw, RowFile
from midspec.exchange._mix_config import MixConfig, MixPart
from midspec.exchange._mix_sources import Fault, fault_finder, open_source, text_of
from midspec.exchange._parse import BadRowError, chat_of, document_of
from midspec.exchange._tokens import Count, counter

_ID_LENGTH = 16
_SCRATCH = ".rows.tmp"


class _Drawn(NamedTuple):
    """A row that passed: a random number that decides whether it is used, one that decides where, and its line's place.

    They are two numbers: a large source's drawn rows all have small ones of the first, and would all come early.
    """

    chance: float
    order: float
    part: int
    tokens: int
    start: int
    length: int


class _Read(NamedTuple):
    """What reading one part gave."""

    passed: list[_Drawn]
    n_read: int
    rejected: Counter[str]
    revision: str | None
    sha256: dict[str, str]


class _Tools(NamedTuple):
    """What every row goes through, and where rows wait until it is known which are used."""

    config: MixConfig
    count: Count
    fault: Fault
    scratch: IO[bytes]
    rejects: RowFile


def build_mix(config: MixConfig, folder: Path, *, base: Path = Path()) -> Built:
    """Write a mix: `chats.jsonl` or `documents.jsonl` (or both), `rejects.jsonl` and `manifest.json`.

    Every row of every source is read and filtered; of those that pass, each part's number is drawn at random, all are
    shuffled together, and the mix ends before the row that would pass the token budget. No text is held in memory.

    Args:
        config: what to mix.
        folder: where to write; made if it is not there.
        base: where relative names of local sources and of the tokenizer begin.

    Raises:
        MissingError: a source or tokenizer that is not there, or can't be had.
        ConfigError: a tokenizer that does not open.
        DataError: a file that is not rows; or nothing is left to mix.
        FolderError: the folder can't be written.
    """
    return _build(config, folder, base, _cut)


def build_neutral(config: MixConfig, match_tokens: int, folder: Path, *, base: Path = Path()) -> Built:
    """Write a neutral corpus of as many tokens as another has, as the control of what training itself does.

    Like `build_mix` of parts that are all documents, cut to `match_tokens`: it ends before the first document that
    would pass them, so it is short of them by less than that document. `filters.words` keeps out documents that name
    what must not be named.

    Args:
        config: where documents come from; its own `budget_tokens` must not be set.
        match_tokens: of the corpus to match, counted with the same tokenizer.
        folder: where to write; made if it is not there.
        base: where relative names begin.

    Raises:
        MissingError: a source or tokenizer that is not there, or can't be had.
        ConfigError: a tokenizer that does not open.
        DataError: a part is of chats, or the sources hold fewer tokens than are to be matched.
    """
    if chats := [part.name for part in config.parts if part.kind == "chats"]:
        raise DataError("is of chats; a neutral corpus is of documents", where=chats[0], hint="Set its kind: documents")
    matched = MixConfig.model_validate({**config.model_dump(), "budget_tokens": match_tokens})
    return _build(matched, folder, base, _cut_or_fail)


# Reading and filtering -----------------------------------------------------------------------------------------
def _build(config: MixConfig, folder: Path, base: Path, cut: _Cut) -> Built:
    count, counted = counter(base / config.tokenizer if config.tokenizer else None)
    scratch_path = folder / _SCRATCH
    with writable(folder):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with RowFile(folder / "rejects.jsonl") as rejects, scratch_path.open("w+b") as scratch:
                tools = _Tools(config, count, fault_finder(config), scratch, rejects)
                read = [_read_part(at, part, base, tools) for at, part in enumerate(config.parts)]
                chosen = [_draw(part, one.passed, config) for part, one in zip(config.parts, read, strict=True)]
                kept = cut(_shuffled(chosen), config)
                outputs = _write(kept, config, scratch, folder)
        finally:
            scratch_path.unlink(missing_ok=True)
        if not rejects.n_rows:
            (folder / "rejects.jsonl").touch()
        manifest = _manifest(config, read, chosen, kept, counted)
        write_json(folder / "manifest.json", manifest)
    summary = {key: manifest[key] for key in ("n_rows", "tokens", "budget_tokens", "tokens_counted_by", "notes")}
    return Built(outputs=(*outputs, "rejects.jsonl", "manifest.json"), summary=summary)


def _read_part(at: int, part: MixPart, base: Path, tools: _Tools) -> _Read:
    """Read a part's rows; those that pass wait in the scratch file, in the order in which they were read."""
    origin = open_source(part, base)
    draw = random.Random(f"{tools.config.seed}:{part.name}")
    passed: list[_Drawn] = []
    rejected: Counter[str] = Counter()
    n_read = 0
    for raw in origin.rows:
        n_read += 1
        # Drawn for every row, so that a filter changes which rows pass and not how they are drawn.
        chance, order = draw.random(), draw.random()
        found, tokens, reason = _sift(raw, part, n_read, tools)
        if reason is not None:
            # What follows a colon is about one row.
            rejected[reason.partition(":")[0]] += 1
            tools.rejects.write(_reject(raw, part, reason, found))
        elif found is not None:
            line = found.model_dump_json().encode() + b"\n"
            passed.append(_Drawn(chance, order, at, tokens, tools.scratch.tell(), len(line)))
            tools.scratch.write(line)
    return _Read(passed, n_read, rejected, origin.revision, origin.sha256)


def _sift(raw: Raw, part: MixPart, number: int, tools: _Tools) -> tuple[Document | Chat | None, int, str | None]:
    """The row as one of ours, its tokens that are trained on, and why it is not kept, or `None`."""
    try:
        row = _ours(raw.row, part, number)
    except BadRowError as error:
        return None, 0, f"malformed: {error}"
    n_all, n_trained = _tokens(row, tools.count)
    return row, n_trained, tools.fault(row, n_all)


def _tokens(row: Document | Chat, count: Count) -> tuple[int, int]:
    """All tokens of a row, and those that are trained on: of a chat only the assistant's."""
    if isinstance(row, Document):
        n_tokens = count(row.text)
        return n_tokens, n_tokens
    turns = [(turn.role == "assistant", count(turn.content)) for turn in row.messages]
    return sum(n for _, n in turns), sum(n for trained, n in turns if trained)


def _ours(row: dict[str, Any], part: MixPart, number: int) -> Document | Chat:
    """A row with where it comes from as its author; an id of ours is kept."""
    if part.kind == "documents":
        document = document_of(row).document
        seen = DocumentMetadata(
            id=hash_text(f"{part.name}\n{number}\n{document.text}")[:_ID_LENGTH], author=part.source
        )
        made = {"metadata": document.metadata or seen, "source": document.source or part.source}
        return document.model_copy(update=made)
    chat = chat_of(row).chat
    tag = ChatMetadata(
        id=hash_text(f"{part.name}\n{number}\n{text_of(chat)}")[:_ID_LENGTH], author=part.source, style=part.name
    )
    return chat.model_copy(update={"metadata": chat.metadata or tag})


def _reject(raw: Raw, part: MixPart, reason: str, found: Document | Chat | None) -> Reject:
    place = raw.where.rpartition("/")[2]
    text = text_of(found) if found is not None else ascii(raw.row)
    return Reject(id=place, by=f"mix: {part.name}", reason=reason, text=text)


# Drawing and mixing --------------------------------------------------------------------------------------------
_Cut = Callable[[Sequence[_Drawn], MixConfig], list[_Drawn]]


def _draw(part: MixPart, passed: Sequence[_Drawn], config: MixConfig) -> list[_Drawn]:
    """Which of a part's rows are used: as many as it asks for, by their random numbers."""
    ordered = sorted(passed)
    if part.n_rows is not None:
        return ordered[: part.n_rows]
    return _until(ordered, part.share * config.budget_tokens) if part.share and config.budget_tokens else ordered


def _until(rows: Sequence[_Drawn], n_tokens: float) -> list[_Drawn]:
    """The rows before the first that would pass so many tokens in all."""
    total = 0
    for at, row in enumerate(rows):
        total += row.tokens
        if total > n_tokens:
            return list(rows[:at])
    return list(rows)


def _shuffled(chosen: Sequence[Sequence[_Drawn]]) -> list[_Drawn]:
    """All rows in one order; it depends on their own random numbers alone, so that a part more moves no other rows."""
    return sorted((row for part in chosen for row in part), key=lambda row: (row.order, row.part))


def _cut(rows: Sequence[_Drawn], config: MixConfig) -> list[_Drawn]:
    kept = _until(rows, config.budget_tokens) if config.budget_tokens else list(rows)
    if not kept:
        hint = "Look at rejects.jsonl's reasons in the filters, or raise budget_tokens"
        raise DataError("no row is left to mix", where=config.name, hint=hint)
    return kept


def _cut_or_fail(rows: Sequence[_Drawn], config: MixConfig) -> list[_Drawn]:
    kept = _cut(rows, config)
    if len(kept) == len(rows) and (there := sum(row.tokens for row in rows)) < (config.budget_tokens or 0):
        what = f"the sources hold {there:,} tokens after filtering, and {config.budget_tokens:,} are to be matched"
        raise DataError(what, where=config.name, hint="Add a source")
    return kept


def _write(kept: Sequence[_Drawn], config: MixConfig, scratch: IO[bytes], folder: Path) -> tuple[str, ...]:
    """Write the rows that are used, in order; returns the names of the files."""
    kinds = [part.kind for part in config.parts]
    names = tuple(f"{kind}.jsonl" for kind in sorted(set(kinds)))
    opened = {name: (folder / name).open("wb") for name in names}
    try:
        for row in kept:
            scratch.seek(row.start)
            opened[f"{kinds[row.part]}.jsonl"].write(scratch.read(row.length))
    finally:
        for file in opened.values():
            file.close()
    return names


# The manifest --------------------------------------------------------------------------------------------------
def _manifest(
    config: MixConfig, read: Sequence[_Read], chosen: Sequence[Sequence[_Drawn]], kept: Sequence[_Drawn], counted: str
) -> dict[str, JsonValue]:
    parts: list[JsonValue] = []
    notes = list(config.untested)
    for at, (part, one, drawn) in enumerate(zip(config.parts, read, chosen, strict=True)):
        used = [row for row in kept if row.part == at]
        rejected: dict[str, JsonValue] = dict(sorted(one.rejected.items()))
        hashes: dict[str, JsonValue] = dict(sorted(one.sha256.items()))
        parts.append(
            {
                "name": part.name,
                "source": part.source,
                "revision": one.revision,
                "sha256": hashes,
                "n_asked": part.n_rows,
                "n_read": one.n_read,
                "n_rejected": one.rejected.total(),
                "rejected": rejected,
                "n_drawn": len(drawn),
                "n_kept": len(used),
                "tokens": sum(row.tokens for row in used),
            }
        )
        notes += _notes(part, one, drawn, used)
    shown: list[JsonValue] = list(notes)
    return {
        "name": config.name,
        "n_rows": len(kept),
        "tokens": sum(row.tokens for row in kept),
        "tokens_counted_by": counted,
        "budget_tokens": config.budget_tokens,
        "parts": parts,
        "notes": shown,
        "config_sha256": fingerprint(config),
        "config": config.model_dump(mode="json"),
    }


def _notes(part: MixPart, one: _Read, drawn: Sequence[_Drawn], used: Sequence[_Drawn]) -> Iterator[str]:
    if part.n_rows is not None and len(drawn) < part.n_rows:
        yield f"{part.name}: {part.n_rows:,} rows were asked for, and {len(one.passed):,} of {one.n_read:,} passed."
    if len(used) < len(drawn):
        yield f"{part.name}: {len(drawn) - len(used):,} of {len(drawn):,} drawn rows came after the token budget."
