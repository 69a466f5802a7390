"""Steps that import, export and mix rows, and export checkpoints; identified by the content of their files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import JsonValue

from midspec.core.artifact import RECORD, Built
from midspec.core.errors import ConfigError, MissingError
from midspec.study._inputs import File, Input, Named
from midspec.study._step import Job, Size, Step, StudyOutputs, count_of, settings_of, slug

if TYPE_CHECKING:
    from midspec.exchange import ChatRows, Form, MixConfig, ModelExport

# The published mix has 2M tokens of the assistant in 10,000 rows.
_TRAINED_TOKENS = 200


@dataclass(frozen=True, kw_only=True, eq=False)
class ExportStep(Step):
    """A result folder in the format of another library.

    Attributes:
        rows: the folder, or a file of rows.
        form: the library.
        strict: only the keys text, source and domain.
        chat_rows: for TRL: whole conversations, or turn by turn.
        license_id: of the data, for its card.
    """

    kind = "export"
    opens_model = False
    rows: Path
    form: Form
    strict: bool = False
    chat_rows: ChatRows = "messages"
    license_id: str | None = None

    @property
    def inputs(self) -> dict[str, Input]:
        return _files(self.rows, "rows")

    @property
    def settings(self) -> dict[str, JsonValue]:
        return {"form": self.form, "strict": self.strict, "chat_rows": self.chat_rows, "license": self.license_id}

    def run(self, job: Job, folder: Path) -> Built:
        from midspec.exchange import export

        return export(
            self.rows,
            self.form,
            folder,
            strict=self.strict,
            chat_rows=self.chat_rows,
            license_id=self.license_id,
            title=self.rows.name,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class ExportModelStep(Step):
    """A checkpoint as servers and other libraries open it.

    Attributes:
        checkpoint: what is exported.
        config: how.
    """

    kind = "export_model"
    checkpoint: Input
    config: ModelExport

    @classmethod
    def from_study(cls, name: str, settings: Mapping[str, JsonValue], made: StudyOutputs) -> Iterable[Step]:
        """Export every arm of a study, or those that `arms` names."""
        from midspec.exchange import ModelExport

        values = dict(settings)
        arms = values.pop("arms", None)
        for (arm, seed), checkpoint in made.checkpoints.items():
            if arms is None or (isinstance(arms, list) and arm in arms):
                config = settings_of(name, {"name": f"{slug(arm)}-s{seed}", **values}, ModelExport)
                yield cls(label=f"{name} {arm}", seed=seed, checkpoint=checkpoint, config=config)

    @property
    def settings(self) -> dict[str, JsonValue]:
        return self.config.model_dump(mode="json")

    def run(self, job: Job, folder: Path) -> Built:
        from midspec.exchange import export_model

        return export_model(job.locate(self.checkpoint), self.config, folder)


@dataclass(frozen=True, kw_only=True, eq=False)
class ImportStep(Step):
    """Rows of others as documents or chats.

    Attributes:
        rows: a file or folder.
        strip_prefix: removed from each document's beginning.
        split: of a data set folder; all by default.
        subset: of a data set folder, where its card names several.
    """

    kind = "import"
    opens_model = False
    rows: Path
    strip_prefix: str = ""
    split: str | None = None
    subset: str | None = None

    @property
    def inputs(self) -> dict[str, Input]:
        return _files(self.rows, "rows")

    @property
    def settings(self) -> dict[str, JsonValue]:
        given = {"split": self.split, "subset": self.subset}
        return {"strip_prefix": self.strip_prefix, **{name: value for name, value in given.items() if value}}

    def run(self, job: Job, folder: Path) -> Built:
        from midspec.exchange import import_folder

        return import_folder(self.rows, folder, strip_prefix=self.strip_prefix, split=self.split, subset=self.subset)


@dataclass(frozen=True, kw_only=True, eq=False)
class MixStep(Step):
    """A mix of local files and hub data sets.

    Attributes:
        config: of the mix.
        base: the folder that local sources start at.
    """

    kind = "mix"
    opens_model = False
    config: MixConfig
    base: Path

    @classmethod
    def named(
        cls, name: str, home: Path, kind: Literal["documents", "chats"], names: Mapping[str, str | None]
    ) -> MixStep:
        """Create the step of a mix that a study names.

        Args:
            name: of a shipped mix, or a YAML file.
            home: where its path begins.
            kind: of all its rows.
            names: of the assistant and its maker, where the mix gives none.

        Raises:
            ConfigError: it has rows of another kind, or is no mix.
            MissingError: there is no such mix.
        """
        from midspec.exchange import load_mix

        file = home / Path(name).expanduser()
        config = load_mix(file if file.is_file() else name)
        if other := next((part.name for part in config.parts if part.kind != kind), None):
            where = f"{name}: {other}"
            raise ConfigError(f"is not of {kind}", where=where, hint=f"Give a mix of {kind} alone")
        own = {each: getattr(config, each) or value for each, value in names.items()}
        return cls(label=config.name, config=config.model_copy(update=own), base=file.parent)

    def size(self, summary: Mapping[str, JsonValue]) -> Size:
        counts = [part.n_rows for part in self.config.parts]
        known = None if None in counts else sum(each or 0 for each in counts)
        trained = self.config.budget_tokens or _TRAINED_TOKENS * (known or 0)
        # A mix counts the assistant's tokens, and about as many are the user's.
        return Size(count_of(summary, "n_rows", known), tokens=2 * (count_of(summary, "tokens", trained) or 0))

    @property
    def inputs(self) -> dict[str, Input]:
        inputs: dict[str, Input] = {}
        for part in self.config.parts:
            place = self.base / Path(part.source).expanduser()
            inputs |= _files(place, part.name) if place.exists() else {part.name: Named(part.source)}
        return inputs

    @property
    def settings(self) -> dict[str, JsonValue]:
        return {"mix": self.config.model_dump(mode="json")}

    def run(self, job: Job, folder: Path) -> Built:
        from midspec.exchange import build_mix

        return build_mix(self.config, folder, base=self.base)


@dataclass(frozen=True, kw_only=True, eq=False)
class NeutralStep(MixStep):
    """A corpus without values, of `match_tokens` tokens, as many as another corpus has."""

    kind = "neutral"
    match_tokens: int

    @property
    def settings(self) -> dict[str, JsonValue]:
        return {"mix": self.config.model_dump(mode="json"), "match_tokens": self.match_tokens}

    def run(self, job: Job, folder: Path) -> Built:
        from midspec.exchange import build_neutral

        return build_neutral(self.config, self.match_tokens, folder, base=self.base)


def _files(path: Path, role: str) -> dict[str, Input]:
    """Return a file, or every file of a folder but its record, which is about its run too."""
    if path.is_file():
        return {role: File(str(path))}
    if not path.is_dir():
        raise MissingError("there is no such file or folder", where=str(path), hint="Check the path")
    files = sorted(file for file in path.rglob("*") if file.is_file() and not file.name.startswith("."))
    return {f"{role}/{file.relative_to(path)}": File(str(file)) for file in files if file.name != RECORD}


STEPS = (ExportModelStep, ExportStep, ImportStep, MixStep, NeutralStep)
