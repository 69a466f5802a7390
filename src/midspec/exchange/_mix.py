"""Rows of several sources, filtered, drawn and shuffled together, with a manifest of where each came from."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, NamedTuple

from pydantic import JsonValue

from midspec.core.artifact import Built, writable, write_json
from midspec.core.chat_rows import BadRowError
from midspec.core.errors import DataError
from midspec.core.fingerprint import fingerprint, id_of
from midspec.core.records import Chat, ChatMetadata, Document, DocumentMetadata, Reject
from midspec.core.text import token_counter
from midspec.exchange._files import RowFile
from midspec.exchange._mix_config import MixConfig, MixPart
from midspec.exchange._mix_sources import Fault, fault_finder, open_source
from midspec.exchange._read import parse_chat, parse_document

_SCRATCH = ".rows.tmp"


class _Candidate(NamedTuple):
    """A row that passed the filters, with its part and tokens, and where its line is in the scratch file.

    `chance` decides whether it is used, `order` where: with one number for both, the few rows that are drawn of a large
    source would all have small ones and come early.
    """

    chance: float
    order: float
    part: int
    tokens: int
    start: int
    length: int
    text_hash: int


class _ReadPart(NamedTuple):
    """What reading one part gave."""

    passed: list[_Candidate]
    n_read: int
    rejected: Counter[str]
    revision: str | None
    sha256: dict[str, str]


class _Tools(NamedTuple):
    """What every row goes through, and the files that rows and rejects are written to."""

    config: MixConfig
    count: Callable[[str], int]
    find_fault: Fault
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
    return _build(config, folder, base)


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
    return _build(matched, folder, base, must_reach_budget=True)


# Reading and filtering -----------------------------------------------------------------------------------------
def _build(config: MixConfig, folder: Path, base: Path, *, must_reach_budget: bool = False) -> Built:
    count, counted_by = token_counter(base / config.tokenizer if config.tokenizer else None)
    scratch_path = folder / _SCRATCH
    with writable(folder):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with RowFile(folder / "rejects.jsonl") as rejects, scratch_path.open("w+b") as scratch:
                tools = _Tools(config, count, fault_finder(config), scratch, rejects)
                read = [_read_part(at, part, base, tools) for at, part in enumerate(config.parts)]
                drawn = [_draw(part, one.passed, config) for part, one in zip(config.parts, read, strict=True)]
                # The order depends on the rows' own random numbers alone, so that a further part moves no other rows.
                shuffled = sorted((row for part in drawn for row in part), key=lambda row: (row.order, row.part))
                kept = _cut(shuffled, config, must_reach_budget=must_reach_budget)
                kinds = [part.kind for part in config.parts]
                outputs = [f"{kind}.jsonl" for kind in sorted(set(kinds))]
                with ExitStack() as stack:
                    files = {name: stack.enter_context((folder / name).open("wb")) for name in outputs}
                    for row in kept:
                        scratch.seek(row.start)
                        files[f"{kinds[row.part]}.jsonl"].write(scratch.read(row.length))
        finally:
            scratch_path.unlink(missing_ok=True)
        if not rejects.n_rows:
            (folder / "rejects.jsonl").touch()
        manifest = _manifest(config, read, drawn, kept, counted_by)
        write_json(folder / "manifest.json", manifest)
    summary = {key: manifest[key] for key in ("n_rows", "tokens", "budget_tokens", "tokens_counted_by", "notes")}
    if n_repeated := len(kept) - len({row.text_hash for row in kept}):
        # Of data sets that were made of one another, say. The manifest keeps its bytes.
        summary["repeated_rows"] = f"{n_repeated} of {len(kept)} are others of the mix word for word"
    return Built(outputs=(*outputs, "rejects.jsonl", "manifest.json"), summary=summary)


def _read_part(at: int, part: MixPart, base: Path, tools: _Tools) -> _ReadPart:
    """Read a part's rows; those that pass wait in the scratch file, in the order in which they were read."""
    source = open_source(part, base)
    draw = random.Random(f"{tools.config.seed}:{part.name}")
    passed: list[_Candidate] = []
    rejected: Counter[str] = Counter()
    n_read = 0
    for raw in source.rows:
        n_read += 1
        # Drawn for every row, so that a filter changes which rows pass and not how they are drawn.
        chance, order = draw.random(), draw.random()
        row, n_trained = None, 0
        try:
            row = _row_of(raw.checked(), part, n_read)
            n_tokens, n_trained = _count_tokens(row, tools.count)
            reason = tools.find_fault(row, n_tokens)
        except BadRowError as error:
            reason = f"malformed: {error}"
        if reason is not None:
            # What follows a colon is about one row.
            rejected[reason.partition(":")[0]] += 1
            text = row.text if row is not None else ascii(raw.row)
            place = raw.where.rpartition("/")[2]
            tools.rejects.write(Reject(id=place, by=f"mix: {part.name}", reason=reason, text=text))
        elif row is not None:
            line = row.model_dump_json().encode() + b"\n"
            passed.append(_Candidate(chance, order, at, n_trained, tools.scratch.tell(), len(line), hash(row.text)))
            tools.scratch.write(line)
    return _ReadPart(passed, n_read, rejected, source.revision, source.sha256)


def _count_tokens(row: Document | Chat, count: Callable[[str], int]) -> tuple[int, int]:
    """Count all tokens of a row, and those that are trained on: of a chat only the assistant's."""
    if isinstance(row, Document):
        n_tokens = count(row.text)
        return n_tokens, n_tokens
    texts = [(turn, turn.content + (turn.reasoning_content or "")) for turn in row.messages]
    turns = [(turn.role == "assistant", count(text)) for turn, text in texts]
    return sum(n for _, n in turns), sum(n for is_trained, n in turns if is_trained)


def _row_of(given: dict[str, Any], part: MixPart, number: int) -> Document | Chat:
    """Parse a row, with its source as its author; an id of ours is kept."""
    if part.kind == "documents":
        document = parse_document(given, strict=True).row
        made = DocumentMetadata(id=_row_id(part, number, document.text), author=part.source)
        update = {"metadata": document.metadata or made, "source": document.source or part.source}
        return document.model_copy(update=update)
    chat = parse_chat(given, strict=True).row
    if chat.tools or any(turn.tool_calls or turn.role == "tool" for turn in chat.messages):
        raise BadRowError("calls tools, which not every chat template writes")
    tag = ChatMetadata(id=_row_id(part, number, chat.text), author=part.source, style=part.name)
    return chat.model_copy(update={"metadata": chat.metadata or tag})


def _row_id(part: MixPart, number: int, text: str) -> str:
    return id_of(part.name, str(number), text)


# Drawing and mixing --------------------------------------------------------------------------------------------
def _draw(part: MixPart, passed: Sequence[_Candidate], config: MixConfig) -> list[_Candidate]:
    """Draw those of a part's rows that are used: as many as it asks for, by their random numbers."""
    ordered = sorted(passed)
    if part.n_rows is not None:
        return ordered[: part.n_rows]
    return _until(ordered, part.share * config.budget_tokens) if part.share and config.budget_tokens else ordered


def _until(rows: Sequence[_Candidate], n_tokens: float) -> list[_Candidate]:
    """Return the rows before the first that would pass so many tokens in all."""
    total = 0
    for at, row in enumerate(rows):
        total += row.tokens
        if total > n_tokens:
            return list(rows[:at])
    return list(rows)


def _cut(rows: Sequence[_Candidate], config: MixConfig, *, must_reach_budget: bool) -> list[_Candidate]:
    """Return the rows up to the token budget."""
    kept = _until(rows, config.budget_tokens) if config.budget_tokens else list(rows)
    if not kept:
        hint = "Look at rejects.jsonl's reasons in the filters, or raise budget_tokens"
        raise DataError("no row is left to mix", where=config.name, hint=hint)
    n_tokens = sum(row.tokens for row in rows)
    if must_reach_budget and len(kept) == len(rows) and n_tokens < (config.budget_tokens or 0):
        what = f"the sources hold {n_tokens:,} tokens after filtering, and {config.budget_tokens:,} are to be matched"
        raise DataError(what, where=config.name, hint="Add a source")
    return kept


def _manifest(
    config: MixConfig,
    read: Sequence[_ReadPart],
    drawn: Sequence[Sequence[_Candidate]],
    kept: Sequence[_Candidate],
    counted_by: str,
) -> dict[str, JsonValue]:
    parts: list[JsonValue] = []
    notes: list[JsonValue] = [*config.untested]
    for at, (part, one, rows) in enumerate(zip(config.parts, read, drawn, strict=True)):
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
                "n_drawn": len(rows),
                "n_kept": len(used),
                "tokens": sum(row.tokens for row in used),
            }
        )
        if part.n_rows is not None and len(rows) < part.n_rows:
            n_passed = f"{len(one.passed):,} of {one.n_read:,} passed"
            notes.append(f"{part.name}: {part.n_rows:,} rows were asked for, and {n_passed}.")
        if len(used) < len(rows):
            n_late = len(rows) - len(used)
            notes.append(f"{part.name}: {n_late:,} of {len(rows):,} drawn rows came after the token budget.")
    return {
        "name": config.name,
        "n_rows": len(kept),
        "tokens": sum(row.tokens for row in kept),
        "tokens_counted_by": counted_by,
        "budget_tokens": config.budget_tokens,
        "parts": parts,
        "notes": notes,
        "config_sha256": fingerprint(config),
        "config": config.model_dump(mode="json"),
    }
