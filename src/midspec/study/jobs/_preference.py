"""Steps of pairs to choose from: an arm's evaluation, a base's competence gate, and pairs copied into a run."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue

from midspec.core.artifact import Built, write_rows
from midspec.core.fingerprint import fingerprint
from midspec.study._inputs import SHIPPED, EvalItems, File, Input, Model
from midspec.study._step import Job, Step
from midspec.study.jobs._sources import SpecNames

if TYPE_CHECKING:
    from midspec.evals import PreferenceConfig

HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w-]*")
_ITEMS = "items.jsonl"
CACHE = "kept.jsonl"
"""Replies as they came, in a result's folder."""


def items_of(name: str) -> Input:
    """Return pairs from outside a study: a file, a shipped set (`shipped:<value>`), or a data set on the hub.

    Raises:
        MissingError: it reads as a file, and there is none.
    """
    is_elsewhere = name.startswith(SHIPPED) or (not Path(name).exists() and HUB_NAME.fullmatch(name))
    return EvalItems(name) if is_elsewhere else File.at(Path(name))


@dataclass(frozen=True, kw_only=True, eq=False)
class PreferenceStep(Step):
    """A model's choices in pairs.

    Attributes:
        model: under test.
        items: the pairs.
        config: of the evaluation.
        context: a spec to put in the system message, after the config's own.
        context_names: its name and the values of its placeholders.
        base_url: the server of an Inspect model.
        template_args: switches of the chat template; of a checkpoint that midspec trained they are in its template.
    """

    kind = "eval"
    resumable = True
    model: Input
    items: Input
    config: PreferenceConfig
    context: Input | None = None
    context_names: SpecNames | None = None
    base_url: str | None = None
    template_args: Mapping[str, JsonValue] = field(default_factory=dict)

    @classmethod
    def of_model(
        cls, model: str, items: Path | str, config: PreferenceConfig, *, base_url: str | None = None
    ) -> PreferenceStep:
        """Create the step for a checkpoint (folder or hub name) or an Inspect model outside a study.

        Args:
            model: under test.
            items: a file, a shipped set (`shipped:<value>`), or a data set's name on the hub.
            config: of the evaluation.
            base_url: the server of an Inspect model.
        """
        return cls(model=Model(model), items=items_of(str(items)), config=config, base_url=base_url)

    @property
    def n_devices(self) -> int:
        return 1 if self.base_url is None else 0

    @property
    def settings(self) -> dict[str, JsonValue]:
        context = {} if self.context_names is None else {"context": self.context_names.settings()}
        # Before, all items drew from one stream, so that sampled answers of an older version are others.
        draws: dict[str, JsonValue] = {"draws": "a seed for each item"} if self.config.temperature > 0 else {}
        config = self.config.model_dump(mode="json")
        return {"preference": config, **context, **template_settings(self.template_args), **draws}

    def run(self, job: Job, folder: Path) -> Built:
        from midspec.evals import resolve_items, run_preference

        config = self.config
        if self.context is not None and self.context_names is not None:
            spec = self.context_names.read(job.locate(self.context))
            config = config.model_copy(update={"system": "\n\n".join(filter(None, (config.system, spec.text)))})
        items = resolve_items(job.locate(self.items))
        # What came stays where some answers did not, and a result that is made anew begins with it.
        if (old := job.folder / CACHE).is_file() and not (folder / CACHE).exists():
            shutil.copyfile(old, folder / CACHE)
        model_args = model_args_of(job, self.base_url, self.template_args)
        model, tell = job.locate(self.model), job.on_progress
        return run_preference(model, items, config, folder, model_args=model_args, on_progress=tell)


@dataclass(frozen=True, kw_only=True, eq=False)
class GateStep(PreferenceStep):
    """A base's choices in the gate's pairs, before any arm starts from it."""

    kind = "gate"


@dataclass(frozen=True, kw_only=True, eq=False)
class AnswerFormStep(Step):
    """The form of asking in which a base puts the most probability on the options: form.yaml and forms.jsonl.

    Attributes:
        model: as it was before any arm was trained.
        items: pairs that are kept for this; `None` for the shipped ones.
        config: the settings, of which phrasings and formats are chosen.
        template_args: switches of the chat template.
    """

    kind = "answer-form"
    model: Input
    items: Input | None = None
    config: PreferenceConfig
    template_args: Mapping[str, JsonValue] = field(default_factory=dict)

    @property
    def settings(self) -> dict[str, JsonValue]:
        from midspec.evals import form_items

        kept = {} if self.items is not None else {"items": fingerprint(form_items())}
        config = self.config.model_dump(mode="json")
        return {"preference": config, **kept, **template_settings(self.template_args)}

    def run(self, job: Job, folder: Path) -> Built:
        from midspec.evals import choose_form, form_items, resolve_items

        items = form_items() if self.items is None else resolve_items(job.locate(self.items))
        args, tell = self.template_args, job.on_progress
        model = job.locate(self.model)
        return choose_form(model, items, self.config, folder, device=job.device, template_args=args, on_progress=tell)


@dataclass(frozen=True, kw_only=True, eq=False)
class PairsStep(Step):
    """Pairs that are shipped or on the hub, as a file of the run."""

    kind = "pairs"
    opens_model = False
    items: EvalItems

    @property
    def settings(self) -> dict[str, JsonValue]:
        return {"items": self.items.name}

    def original(self, file: str) -> Input | None:
        return self.items if file == _ITEMS else None

    def run(self, job: Job, folder: Path) -> Built:
        from midspec.evals import resolve_items

        items = resolve_items(self.items.name)
        write_rows(folder / _ITEMS, items)
        return Built(outputs=(_ITEMS,), summary={"n_items": len(items)})


def model_args_of(job: Job, base_url: str | None, template_args: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """Return the arguments with which Inspect opens the model under test."""
    device: dict[str, JsonValue] = {} if job.device == "auto" else {"device": job.device}
    server: dict[str, JsonValue] = {} if base_url is None else {"base_url": base_url}
    return {**device, **server, **template_settings(template_args)}


def template_settings(template_args: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """Return the chat template's switches as a setting; nothing where none is given, as before there were any."""
    return {"template_args": dict(template_args)} if template_args else {}


STEPS = (PreferenceStep, GateStep, PairsStep, AnswerFormStep)
