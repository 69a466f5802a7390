"""How large a neutral corpus must be to match another."""

from __future__ import annotations

from pathlib import Path

from midspec.exchange._mix_config import MixConfig
from midspec.exchange._read import read_documents
from midspec.exchange._tokens import counter

__all__ = ["count_tokens"]


def count_tokens(rows: Path, config: MixConfig, *, base: Path = Path()) -> int:
    """The tokens of a corpus, counted as the mix counts its own.

    Args:
        rows: a folder with documents.jsonl, or whatever `read_documents` reads.
        config: names the tokenizer.
        base: where its relative name begins.

    Raises:
        MissingError, DataError: there are no documents, or no tokenizer.
    """
    own = rows / "documents.jsonl"
    count, _how = counter(base / config.tokenizer if config.tokenizer else None)
    return sum(count(document.text) for document in read_documents(own if own.is_file() else rows))
