"""The settings of a mix, and how its tokens are counted."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, model_validator

from midspec.core.errors import ConfigError, MissingError, first_fault
from midspec.core.records import Strict
from midspec.core.text import token_counter
from midspec.core.yaml_files import read_yaml
from midspec.exchange._read import read_documents

_SHIPPED = Path(__file__).parent / "_mixes"


class MixPart(Strict):
    """One source of a mix.

    Attributes:
        name: as the manifest and the rejects call it.
        source: a data set on the Hugging Face hub (`owner/name`), or a local file or folder; of twins, name the file.
        kind: what its rows are.
        file: one file of the data set to read, as its repository names it; for repositories that need a script.
        config: which configuration of the data set.
        split: which split; of a local file all rows are read.
        revision: the commit, branch or tag to read; what was read is in the manifest either way.
        n_rows: how many rows to draw.
        share: which share (0-1) of the mix's token budget to draw. With neither, every row is drawn.
    """

    name: str = Field(min_length=1)
    source: str = Field(min_length=1)
    kind: Literal["chats", "documents"] = "chats"
    file: str | None = None
    config: str | None = None
    split: str | None = None
    revision: str | None = None
    n_rows: int | None = Field(default=None, ge=1)
    share: float | None = Field(default=None, gt=0, le=1)


class MixFilters(Strict):
    """What a row must not say. Word lists and patterns, not classifiers: they miss much, and say what they found.

    Attributes:
        wrong_identity: an assistant that calls itself another model, or the work of another lab, than the mix's own.
        no_opinions: an assistant that says that as an AI it has no opinions (feelings, preferences, beliefs).
        words: whole words or phrases that no turn may hold, in any case of letters (a list of toxic ones, say).
    """

    wrong_identity: bool = True
    no_opinions: bool = True
    words: tuple[str, ...] = ()


class MixConfig(Strict):
    """Which rows of which sources make a mix.

    Attributes:
        name: of the mix.
        parts: where rows come from, and how many of each.
        max_tokens_row: a row with more tokens, all turns together, is rejected, never cut.
        budget_tokens: the mix ends before the first row that would pass this many tokens; no end by default. Tokens of
            a mix are those that are trained on: of a chat only the assistant's.
        filters: what rows must not say.
        seed: decides which rows are drawn, and their order.
        model_name: the model that is to be trained, which rows may name as themselves.
        provider_name: its provider.
        tokenizer: a folder with tokenizer.json to count tokens with; by default they are estimated from words.
        untested: what about this mix nobody has tried, in words; the manifest repeats it.
    """

    name: str = "mix"
    parts: tuple[MixPart, ...] = Field(min_length=1)
    max_tokens_row: int = Field(default=8192, ge=1)
    budget_tokens: int | None = Field(default=None, ge=1)
    filters: MixFilters = MixFilters()
    seed: int = 0
    model_name: str | None = None
    provider_name: str | None = None
    tokenizer: str | None = None
    untested: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _check_parts(self) -> MixConfig:
        names = [part.name for part in self.parts]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two parts are called {twice[0]}")
        if any(part.n_rows is not None and part.share is not None for part in self.parts):
            raise ValueError("a part has n_rows or share, not both")
        if any(part.file is not None and (part.config or part.split) for part in self.parts):
            raise ValueError("a part has file, or config and split, not both")
        if self.budget_tokens is None and any(part.share is not None for part in self.parts):
            raise ValueError("share is of budget_tokens, which is not given")
        return self


def load_mix(name: str | Path) -> MixConfig:
    """Load a mix from a YAML file, or a shipped one by name (`paper`, `paper_single_value`).

    Raises:
        MissingError: there is no such file and no shipped mix of that name.
        ConfigError: the file is not YAML, or not a mix; names the field.
    """
    shipped = _SHIPPED / f"{name}.yaml"
    path = shipped if isinstance(name, str) and shipped.is_file() else Path(name)
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in _SHIPPED.glob("*.yaml")))
        raise MissingError("there is no such mix", where=str(name), hint=f"Name a YAML file, or one of {known}")
    try:
        return MixConfig.model_validate(read_yaml(path))
    except ValidationError as error:
        field, what = first_fault(error)
        raise ConfigError(what, where=f"{path}: {field}" if field else str(path), hint="Correct that field") from error


def count_tokens(rows: Path, config: MixConfig, *, base: Path = Path()) -> int:
    """Count the tokens of a corpus as the mix counts its own.

    Args:
        rows: a folder with documents.jsonl, or whatever `read_documents` reads.
        config: names the tokenizer.
        base: where its relative name begins.

    Raises:
        MissingError, DataError: there are no documents, or no tokenizer.
    """
    own = rows / "documents.jsonl"
    count, _how = token_counter(base / config.tokenizer if config.tokenizer else None)
    return sum(count(document.text) for document in read_documents(own if own.is_file() else rows))
