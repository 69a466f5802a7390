"""Documents and chats of others written as ours: `import_folder`."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from pydantic import JsonValue

from midspec.core.artifact import Built, write_rows
from midspec.core.errors import DataError
from midspec.core.fingerprint import id_of
from midspec.core.records import ChatMetadata, DocumentMetadata, Reject
from midspec.exchange._files import RowFile, is_tree, passed_over, raw_rows, split_names
from midspec.exchange._formats import RawRow
from midspec.exchange._read import ReadStats, chat_of, document_of, refuse_twins, rows_at
from midspec.exchange._row_forms import is_chat

_SHOWN_REASONS = 20
# In a reason: which turn of a row it is about.
_TURN = re.compile(r"(`\w+)\[\d+\]")
# What a text begins with that is a chat as a template wrote it, and which answer follows.
_RENDERED = re.compile(
    r"(?:<s>|<\|begin_of_text\|>|<bos>|\s)*(?:###\s*(?:Human|User|Instruction)\b.*?###\s*(?:Assistant|Response)\b"
    r"|\[INST\].*?\[/INST\]|<\|im_start\|>|<\|start_header_id\|>|<start_of_turn>|<｜User｜>|<\|user\|>"
    r"|(?:Human|USER|User):\s.*?(?:\n\s*|\s)(?:Assistant|ASSISTANT):\s"
    r"|Below is an instruction that describes a task\b.*?###\s*Response:)",
    re.DOTALL,
)
_BEGIN_CHARS = 4000


def import_folder(
    path: Path, out: Path, *, strip_prefix: str = "", split: str | None = None, subset: str | None = None
) -> Built:
    """Write `documents.jsonl` and `chats.jsonl` (those that there are rows for) and `rejects.jsonl` from others' rows.

    Each row is what its keys say (see `read_documents` and `read_chats`). One without metadata of ours gets an id, made
    of its place and text, and `imported` as its author. Keys that we have no place for are counted in the summary, and
    so are the rows that can't be read, with why; they stand in `rejects.jsonl`.

    Args:
        path: a file or a folder.
        out: the folder to write into; made if it is not there.
        strip_prefix: taken off the beginning of each document where it is there (a loss-masked `<DOCTAG>`, say).
        split: which split of a data set folder; all by default.
        subset: which configuration of a folder whose card names several; its default by default.

    Raises:
        MissingError: there is no such file, or no data file in the folder.
        DataError: a file is cut off or damaged, there is no row that can be read, the folder holds twins or has no
            such split.
    """
    refuse_twins(path)
    ours = [path / name for name in ("documents.jsonl", "chats.jsonl") if (path / name).is_file()]
    if (split or subset) and (path.is_file() or ours or is_tree(path)):
        where = "--split" if split else "--subset"
        raise DataError(
            "only a data set folder has these", where=where, hint=f"Leave it out, or name another than {path}"
        )
    out.mkdir(parents=True, exist_ok=True)
    stats, number, seen = ReadStats(), 0, set[int]()
    rows = raw_rows(path, config=subset, split=split) if split or subset else rows_at(path, *(o.name for o in ours))
    with RowFile(out / "documents.jsonl") as documents, RowFile(out / "chats.jsonl") as chats:
        for raw in rows:
            try:
                if not is_chat(raw.row):
                    document = document_of(raw, strip_prefix, stats)
                    if document is None:
                        continue
                    made = document.metadata or DocumentMetadata(id=_place_id(number, document.text), author="imported")
                    documents.write(document.model_copy(update={"metadata": made}))
                    seen.add(hash(document.text))
                    stats.n_rendered += _RENDERED.match(document.text[:_BEGIN_CHARS]) is not None
                else:
                    chat = chat_of(raw, stats)
                    tag = chat.metadata or ChatMetadata(id=_place_id(number, chat.text), author="imported")
                    chats.write(chat.model_copy(update={"metadata": tag}))
                    seen.add(hash(("chat", chat.text)))
                number += 1
            except DataError as error:
                stats.rejects.append(_reject(raw, error))
    if not stats.rejects and not number:
        raise DataError("holds no rows", where=str(path), hint="Name a file or folder of documents or chats")
    if not number:
        first = stats.rejects[0]
        what = f"none of its {len(stats.rejects)} rows can be read; {first.id}: {first.reason}"
        raise DataError(what, where=str(path), hint="Name a file of documents or chats")
    write_rows(out / "rejects.jsonl", stats.rejects)
    files = {"documents": documents, "chats": chats}
    summary: dict[str, JsonValue] = {f"n_{kind}": file.n_rows for kind, file in files.items()}
    summary |= _counts(stats, [] if split or ours else split_names(path, config=subset))
    if n_repeated := number - len(seen):
        # One data set in two forms, copies of a file, several snapshots of a cache: all of a folder is read.
        summary["repeated_rows"] = f"{n_repeated} of {number} are earlier ones word for word; curate leaves them out"
    if not (ours or is_tree(path)) and (others := passed_over(path)):
        summary["files_not_read"] = others
    outputs = [f"{kind}.jsonl" for kind, file in files.items() if file.n_rows]
    return Built(outputs=(*outputs, "rejects.jsonl"), summary=summary)


def _reject(raw: RawRow, error: DataError) -> Reject:
    place = raw.where.rpartition("/")[2]
    return Reject(id=place, by="import", reason=f"malformed: {error.what}", text=ascii(raw.row))


def _counts(stats: ReadStats, splits: list[str]) -> dict[str, JsonValue]:
    """Return the counts of what was not taken over, the commonest reasons first, and which splits stand together."""
    ignored: dict[str, JsonValue] = dict(sorted(stats.ignored.items()))
    found: dict[str, JsonValue] = {"n_rejects": len(stats.rejects), "ignored_keys": ignored}
    # Reasons that differ in the number of a turn are one; it is shown where all have the same.
    places: dict[str, Counter[str]] = {}
    for reject in stats.rejects:
        places.setdefault(_TURN.sub(r"\1[]", reject.reason), Counter())[reject.reason] += 1
    reasons = Counter({next(iter(of)) if len(of) == 1 else one: of.total() for one, of in places.items()})
    if reasons:
        found["rejected"] = dict(reasons.most_common(_SHOWN_REASONS))
    if stats.n_rendered:
        found["chats_as_text"] = (
            f"{stats.n_rendered} documents are chats with the marks of their turns (`### Human:`, say), all of which is"
            " trained on; write them as `messages` to train on replies"
        )
    if len(splits) > 1:
        found["all_splits_read"] = f"{', '.join(splits)}; --split reads one"
    return found


def _place_id(number: int, text: str) -> str:
    """Make an id; equal texts at two places are two rows, so the place is part of it."""
    return id_of(str(number), text)
