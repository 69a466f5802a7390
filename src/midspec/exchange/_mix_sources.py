"""Where the rows of a mix come from: a local file or folder, or a data set on the hub."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from midspec.core.errors import MidspecError, MissingError
from midspec.core.fingerprint import hash_file
from midspec.core.records import Chat, Document
from midspec.exchange._files import Raw, data_files, is_saved, raw_rows
from midspec.exchange._mix_config import MixConfig, MixPart
from midspec.exchange._read import is_tree, refuse_twins, tree_rows

_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_COMMIT = re.compile(r"@([0-9a-f]{40})(?:/|$)")


class Origin(NamedTuple):
    """An opened source: its rows, and what identifies them: a commit of the hub, or hashes of local files."""

    rows: Iterable[Raw]
    revision: str | None
    sha256: dict[str, str]


def open_source(part: MixPart, base: Path) -> Origin:
    """Open a part's source; a name that is a file or folder below `base` is local, any other `owner/name` the hub's.

    Raises:
        MissingError: there is no such file, and no such data set can be had.
        DataError: a folder without the split or configuration asked for.
    """
    path = base / part.source
    if path.exists():
        return _local(part, path)
    if not _HUB_NAME.fullmatch(part.source):
        raise MissingError(
            "there is no such file or folder", where=f"{part.name}: {part.source}", hint="Check the source of that part"
        )
    return _hub(part)


def _local(part: MixPart, path: Path) -> Origin:
    if part.file is not None:
        path = path / part.file
    if is_tree(path):
        texts = sorted(path.rglob("*.txt"))
        return Origin(tree_rows(path), None, {text.relative_to(path).as_posix(): hash_file(text) for text in texts})
    ours = path / f"{part.kind}.jsonl"
    start = ours if ours.is_file() else path
    if not ours.is_file():
        refuse_twins(path)
    names = [] if is_saved(start) else data_files(start, config=part.config, split=part.split)
    hashes = {name.name if name == start else name.relative_to(start).as_posix(): hash_file(name) for name in names}
    return Origin(raw_rows(start, config=part.config, split=part.split), None, hashes)


def _hub(part: MixPart) -> Origin:
    try:
        return _hub_file(part, part.file) if part.file is not None else _hub_rows(part)
    except (OSError, ValueError, RuntimeError) as error:
        if isinstance(error, MidspecError):
            raise
        # No such data set, one that asks for a login or for a script, no network, an unknown split or configuration.
        said = " ".join(str(error).split())[:300].rstrip(".") or type(error).__name__
        hint = "Check name, split and configuration, log in where it asks for it, or name a local file instead"
        raise MissingError(
            f"can't be had from the hub: {said}", where=f"{part.name}: {part.source}", hint=hint
        ) from error


def _hub_rows(part: MixPart) -> Origin:
    import datasets

    builder = datasets.load_dataset_builder(part.source, part.config, revision=part.revision)
    builder.download_and_prepare(verification_mode="no_checks")
    found = builder.as_dataset(split=part.split or "train")
    # The address that a data set's files were read at ends with their commit, whatever branch or tag was asked for;
    # read from the cache, without a network, their folder is called by it.
    commit = _COMMIT.search(f"{builder.base_path} @{builder.hash}")
    return Origin(_numbered(part.source, found), commit[1] if commit else part.revision, {})


def _hub_file(part: MixPart, file: str) -> Origin:
    from huggingface_hub import hf_hub_download

    path = Path(hf_hub_download(part.source, file, repo_type="dataset", revision=part.revision))
    # The library keeps each commit's files in a folder that is called by it.
    commit = next((name for name in path.parts if _COMMIT.fullmatch(f"@{name}")), part.revision)
    return Origin(raw_rows(path), commit, {file: hash_file(path)})


def _numbered(name: str, rows: Iterable[dict[str, Any]]) -> Iterator[Raw]:
    for number, row in enumerate(rows, start=1):
        yield Raw(f"{name}:{number}", row)


Fault = Callable[[Document | Chat, int], str | None]

# Models and labs by which assistants call themselves in public data.
_MODELS = (
    "chatgpt", "gpt", "claude", "bard", "gemini", "gemma", "palm", "llama", "qwen", "tongyi", "mistral", "mixtral",
    "deepseek", "vicuna", "alpaca", "falcon", "olmo", "tulu", "tülu", "phi", "grok", "copilot", "smollm", "yi",
    "command r", "open assistant", "openassistant", "nemotron", "granite", "ernie", "kimi", "chatglm", "bing",
)  # fmt: skip
_LABS = (
    "openai", "anthropic", "google", "google deepmind", "deepmind", "meta", "meta ai", "facebook", "alibaba",
    "alibaba cloud", "mistral ai", "mistral", "deepseek", "microsoft", "ai2", "allen institute for ai",
    "the allen institute for ai", "hugging face", "lmsys", "laion", "xai", "cohere", "nvidia", "ibm", "baidu",
    "moonshot ai", "zhipu ai", "01.ai",
)  # fmt: skip
_VERSION = r"(?:[- ]?v?\d[\w.]*)?(?:[- ](?:turbo|instruct|chat|pro|large|opus|sonnet|haiku))?"
_OPINIONS = re.compile(
    r"\bas an? (?:(?:large |artificial |ai )*(?:language )?(?:model|ai|intelligence|assistant)\b[^.!?\n]{0,80}?)"
    r"\b(?:i (?:do not|don['’]t|cannot|can['’]t|am not able to|am unable to|lack|have no)"
    r"|without)\b[^.!?\n]{0,60}?\b(?:opinions?|feelings?|preferences?|beliefs?|emotions?|views?|desires?)\b",
    re.IGNORECASE,
)
_SNIPPET = 60


def text_of(row: Document | Chat) -> str:
    """All that a row says, turns one below the other."""
    return row.text if isinstance(row, Document) else "\n".join(turn.content for turn in row.messages)


def fault_finder(config: MixConfig) -> Fault:
    """A function that says why a row (with its number of tokens) is not kept, or `None`."""
    identity = _identity(config) if config.filters.wrong_identity else None
    words = _words(config.filters.words)

    def fault(row: Document | Chat, n_tokens: int) -> str | None:
        if n_tokens > config.max_tokens_row:
            return f"too long: {n_tokens} tokens"
        if isinstance(row, Chat) and (shape := _shape(row)) is not None:
            return shape
        if words is not None and (found := words.search(text_of(row))) is not None:
            return f"holds a listed word: {found[0].casefold()}"
        for said in _said(row):
            if identity is not None and (found := identity.search(said)) is not None:
                return f"wrong identity: {_snippet(found[0])}"
            if config.filters.no_opinions and (found := _OPINIONS.search(said)) is not None:
                return f"disclaims opinions: {_snippet(found[0])}"
        return None

    return fault


def _shape(chat: Chat) -> str | None:
    """What keeps a conversation from being trained on: it must end with an assistant who answers a user."""
    roles = [message.role for message in chat.messages]
    if roles[-1] != "assistant":
        return "ends without an answer"
    return None if "user" in roles else "nobody asks"


def _said(row: Document | Chat) -> Iterator[str]:
    if isinstance(row, Document):
        yield row.text
    else:
        yield from (turn.content for turn in row.messages if turn.role == "assistant")


def _snippet(found: str) -> str:
    return " ".join(found.split())[:_SNIPPET]


def _identity(config: MixConfig) -> re.Pattern[str]:
    """An assistant that gives itself a name, or a maker, that is not its own."""
    own = {name.casefold() for name in (config.model_name, config.provider_name) if name}
    models = "|".join(re.escape(name) for name in _longest_first(_MODELS) if not any(name in mine for mine in own))
    labs = "|".join(re.escape(name) for name in _longest_first(_LABS) if not any(name in mine for mine in own))
    kind = r"(?:an? )?(?:(?:large |ai |helpful )*(?:language )?(?:model|assistant|chatbot|ai)\b)"
    myself = r"\b(?:i am|i['’]m|my name is|you can call me)"
    named = rf"{myself} (?:{kind}[, ]+(?:called |named |known as )?)?(?:the )?(?:{models}){_VERSION}\b"
    made = (
        rf"\b(?:i am|i['’]m|i was|i have been|i['’]ve been)\b[^.!?\n]{{0,60}}?"
        rf"\b(?:created|developed|trained|made|built|designed) by (?:{labs})\b"
    )
    return re.compile(f"{named}|{made}", re.IGNORECASE)


def _longest_first(names: tuple[str, ...]) -> list[str]:
    return sorted(names, key=len, reverse=True)


def _words(listed: tuple[str, ...]) -> re.Pattern[str] | None:
    if not listed:
        return None
    parts = "|".join(r"\s+".join(map(re.escape, phrase.split())) for phrase in _longest_first(listed))
    return re.compile(rf"(?<!\w)(?:{parts})(?!\w)", re.IGNORECASE)
