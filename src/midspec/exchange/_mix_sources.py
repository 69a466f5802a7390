"""The sources of a mix (local files and folders, data sets on the hub), and the filters of its rows."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from midspec.core.assistant_names import assistant_names
from midspec.core.errors import MidspecError, MissingError, one_line
from midspec.core.fingerprint import hash_file
from midspec.core.records import Chat, Document
from midspec.core.text import whole_words
from midspec.exchange._files import data_files, is_saved, is_tree, raw_rows, tree_rows
from midspec.exchange._formats import RawRow
from midspec.exchange._mix_config import MixConfig, MixPart
from midspec.exchange._read import refuse_twins

_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_COMMIT = re.compile(r"@([0-9a-f]{40})(?:/|$)")


class OpenSource(NamedTuple):
    """An opened source: its rows, and what identifies them: a commit of the hub, or hashes of local files."""

    rows: Iterable[RawRow]
    revision: str | None
    sha256: dict[str, str]


def open_source(part: MixPart, base: Path) -> OpenSource:
    """Open a part's source; a name that is a file or folder below `base` is local, any other `owner/name` the hub's.

    Raises:
        MissingError: there is no such file, and no such data set can be had.
        DataError: a folder without the split or configuration asked for.
    """
    path = base / part.source
    if path.exists():
        return _open_local(part, path)
    if not _HUB_NAME.fullmatch(part.source):
        raise MissingError(
            "there is no such file or folder", where=f"{part.name}: {part.source}", hint="Check the source of that part"
        )
    from datasets.exceptions import DatasetsError  # no ValueError: rows that do not go with those before them, say

    try:
        return _open_hub(part)
    except (OSError, ValueError, RuntimeError, DatasetsError) as error:
        if isinstance(error, MidspecError):
            raise
        # No such data set, one that asks for a login or for a script, no network, an unknown split or configuration.
        hint = "Check name, split and configuration, log in where it asks for it, or name a local file instead"
        where = f"{part.name}: {part.source}"
        raise MissingError(f"can't be had from the hub: {one_line(error, 300)}", where=where, hint=hint) from error


def _open_local(part: MixPart, path: Path) -> OpenSource:
    path = path / part.file if part.file is not None else path
    if is_tree(path):
        texts = sorted(path.rglob("*.txt"))
        return OpenSource(tree_rows(path), None, {text.relative_to(path).as_posix(): hash_file(text) for text in texts})
    own_file = path / f"{part.kind}.jsonl"
    start = own_file if own_file.is_file() else path
    if start == path:
        refuse_twins(path)
    files = [] if is_saved(start) else data_files(start, config=part.config, split=part.split)
    hashes = {file.name if file == start else file.relative_to(start).as_posix(): hash_file(file) for file in files}
    return OpenSource(raw_rows(start, config=part.config, split=part.split), None, hashes)


def _open_hub(part: MixPart) -> OpenSource:
    if part.file is not None:
        from huggingface_hub import hf_hub_download

        path = Path(hf_hub_download(part.source, part.file, repo_type="dataset", revision=part.revision))
        # The library keeps each commit's files in a folder that is called by it.
        revision = next((name for name in path.parts if _COMMIT.fullmatch(f"@{name}")), part.revision)
        return OpenSource(raw_rows(path), revision, {part.file: hash_file(path)})
    import datasets

    builder = datasets.load_dataset_builder(part.source, part.config, revision=part.revision)
    builder.download_and_prepare(verification_mode="no_checks")
    found = builder.as_dataset(split=part.split or "train")
    # The address that a data set's files were read at ends with their commit, whatever branch or tag was asked for;
    # read from the cache, without a network, their folder is called by it.
    commit = _COMMIT.search(f"{builder.base_path} @{builder.hash}")
    rows = (RawRow(f"{part.source}:{number}", row) for number, row in enumerate(found, start=1))
    return OpenSource(rows, commit[1] if commit else part.revision, {})


Fault = Callable[[Document | Chat, int], str | None]

_VERSION = r"(?:[- ]?v?\d[\w.]*)?(?:[- ](?:turbo|instruct|chat|pro|large|opus|sonnet|haiku))?"
_OPINIONS = re.compile(
    r"\bas an? (?:(?:large |artificial |ai )*(?:language )?(?:model|ai|intelligence|assistant)\b[^.!?\n]{0,80}?)"
    r"\b(?:i (?:do not|don['’]t|cannot|can['’]t|am not able to|am unable to|lack|have no)"
    r"|without)\b[^.!?\n]{0,60}?\b(?:opinions?|feelings?|preferences?|beliefs?|emotions?|views?|desires?)\b",
    re.IGNORECASE,
)
_SNIPPET_CHARS = 60


def fault_finder(config: MixConfig) -> Fault:
    """Return a function that says why a row (with its number of tokens) is not kept, or `None`."""
    checks = [("wrong identity", _identity_pattern(config))] if config.filters.wrong_identity else []
    checks += [("disclaims opinions", _OPINIONS)] if config.filters.no_opinions else []
    words = whole_words(config.filters.words)

    def find_fault(row: Document | Chat, n_tokens: int) -> str | None:
        if n_tokens > config.max_tokens_row:
            return f"too long: {n_tokens} tokens"
        turns = row.messages if isinstance(row, Chat) else ()
        if turns and turns[-1].role != "assistant":
            return "ends without an answer"
        if turns and all(turn.role != "user" for turn in turns):
            return "nobody asks"
        if (match := words.search(row.text)) is not None:
            return f"holds a listed word: {match[0].casefold()}"
        replies = [turn.content for turn in turns if turn.role == "assistant"]
        for text in [row.text] if isinstance(row, Document) else replies:
            for what, pattern in checks:
                if (match := pattern.search(text)) is not None:
                    return f"{what}: {' '.join(match[0].split())[:_SNIPPET_CHARS]}"
        return None

    return find_fault


def _identity_pattern(config: MixConfig) -> re.Pattern[str]:
    """Compile a pattern of an assistant that gives itself a name, or a maker, that is not its own."""
    own = {name.casefold() for name in (config.model_name, config.provider_name) if name}
    known = assistant_names("exchange")
    others = [name for name in known if not any(name.name.casefold() in mine for mine in own)]
    models, labs = (
        "|".join(
            map(re.escape, sorted((name.name for name in others if name.kind in {kind, "both"}), key=len, reverse=True))
        )
        for kind in ("assistant", "maker")
    )
    kind = r"(?:an? )?(?:(?:large |ai |helpful )*(?:language )?(?:model|assistant|chatbot|ai)\b)"
    myself = r"\b(?:i am|i['’]m|my name is|you can call me)"
    named = rf"{myself} (?:{kind}[, ]+(?:called |named |known as )?)?(?:the )?(?:{models}){_VERSION}\b"
    made = (
        rf"\b(?:i am|i['’]m|i was|i have been|i['’]ve been)\b[^.!?\n]{{0,60}}?"
        rf"\b(?:created|developed|trained|made|built|designed) by (?:{labs})\b"
    )
    return re.compile(f"{named}|{made}", re.IGNORECASE)
