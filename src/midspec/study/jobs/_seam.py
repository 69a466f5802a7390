"""The step that asks a model right after its documents: does it know each clause, and what do answers cost it?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

from pydantic import JsonValue

from midspec.core.artifact import Built, write_rows
from midspec.core.errors import ConfigError, DataError, did_you_mean
from midspec.core.records import ScoreRow, Spec, Strict
from midspec.evals import PreferenceConfig, loss_rows, probe_rows, probes
from midspec.study._inputs import SHIPPED, EvalItems, File, Input, Model
from midspec.study._step import Job, Step, StudyOutputs, settings_of
from midspec.study.jobs._corpus_loss import open_scorer
from midspec.study.jobs._sources import SpecNames

SCORES = "scores.jsonl"
CONTROL = "control"
"""What the model without documents is called among the seams."""


class SeamConfig(Strict):
    """What a model is asked at the seam.

    Attributes:
        specs: names of the study's specs that are asked about, and give each other's foils; all by default.
        control: `base`, or an arm whose model right after its documents is the control: neutral documents, say.
        answers: whether both answers to the study's held-out pairs are scored as well.
        seed: of the draw of shuffled foils.
    """

    specs: tuple[str, ...] = ()
    control: str = "base"
    answers: bool = True
    seed: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class SeamStep(Step):
    """A model's knowledge of the clauses of specs, and its losses on answers.

    Attributes:
        model: right after its documents, or the control.
        specs: with what fills their placeholders, by name.
        items: held-out pairs whose answers are scored; none by default.
        asked: how the pairs are asked; its first phrasing alone.
        draw: seed of shuffled foils.
        arms: that go through this model; what they are called identifies nothing.
        control: a model whose scores are subtracted, as `margin_gain` and so on; a study subtracts in its report.
    """

    kind = "seam"
    model: Input
    specs: Mapping[str, tuple[Input, SpecNames]]
    items: Input | None = None
    asked: PreferenceConfig = field(default_factory=PreferenceConfig)
    draw: int = 0
    arms: tuple[str, ...] = ()
    control: Input | None = None

    @classmethod
    def from_study(cls, name: str, settings: Mapping[str, JsonValue], made: StudyOutputs) -> Iterator[SeamStep]:
        """Yield a step for each model right after documents, and for the control, of every seed."""
        config = settings_of(name, settings, SeamConfig)
        for spec in config.specs:
            if spec not in made.specs:
                hint = did_you_mean(spec, made.specs)
                raise ConfigError(f"the study has no spec {spec!r}", where=f"steps.{name}.specs", hint=hint)
        known = {arm for arm, _ in made.seams}
        if config.control != "base" and config.control not in known:
            hint = "Give base, or an arm that begins with documents"
            raise ConfigError(f"no arm {config.control!r} has a seam", where=f"steps.{name}.control", hint=hint)
        specs = {spec: found for spec, found in made.specs.items() if not config.specs or spec in config.specs}
        for seed, base in made.bases.items():
            control = base if config.control == "base" else made.seams[config.control, seed]
            models: dict[Input, list[str]] = {control: [CONTROL]}
            for (arm, each), model in made.seams.items():
                if each == seed:
                    models.setdefault(model, []).append(arm)
            for model, arms in models.items():
                yield cls(
                    label=f"{name} {arms[0]}",
                    seed=seed,
                    model=model,
                    specs=specs,
                    items=made.items.get(seed) if config.answers else None,
                    asked=made.asked,
                    draw=config.seed,
                    arms=tuple(arms),
                )

    @classmethod
    def of_model(
        cls,
        model: str,
        specs: Mapping[str, tuple[Path, SpecNames]],
        *,
        items: str | None = None,
        control: str | None = None,
    ) -> SeamStep:
        """Create the step for a checkpoint outside a study.

        Args:
            model: a folder or a hub name.
            specs: files of specs with what fills them, by name; each is asked about, and gives foils to the others.
            items: a file of pairs, or a shipped set (`shipped:<value>`).
            control: a checkpoint without the documents.

        Raises:
            MissingError: a file is not there.
        """
        files: dict[str, tuple[Input, SpecNames]] = {
            name: (File.at(path), names) for name, (path, names) in specs.items()
        }
        pairs: Input | None = None
        if items is not None:
            pairs = EvalItems(items) if items.startswith(SHIPPED) else File.at(Path(items))
        return cls(model=Model(model), specs=files, items=pairs, control=Model(control) if control else None)

    @property
    def inputs(self) -> dict[str, Input]:
        specs = {f"spec/{name}": source for name, (source, _) in self.specs.items()}
        more = {"items": self.items, "control": self.control}
        return {"model": self.model, **specs, **{role: source for role, source in more.items() if source is not None}}

    @property
    def settings(self) -> dict[str, JsonValue]:
        asked = {} if self.items is None else {"asked": self.asked.prompt_hash}
        names: dict[str, JsonValue] = {name: names.settings() for name, (_, names) in self.specs.items()}
        return {"specs": names, "seed": self.draw, **asked}

    def run(self, job: Job, folder: Path) -> Built:
        specs = {name: names.read(job.locate(source)) for name, (source, names) in self.specs.items()}
        rows = self._scored(job, self.model, specs)
        if self.control is not None:
            before = {_key(row): row.value for row in self._scored(job, self.control, specs)}
            rows += [
                row.model_copy(update={"measure": f"{row.measure}_gain", "value": row.value - value})
                for row in rows
                if row.measure != "knows" and row.value is not None and (value := before[_key(row)]) is not None
            ]
        write_rows(folder / SCORES, rows)
        summary: dict[str, JsonValue] = {"arms": list(self.arms)}
        for measure in ("knows", "margin_gain"):
            means: dict[str, JsonValue] = {
                name: round(fmean(values), 4)
                for name in specs
                if (
                    values := [
                        row.value for row in rows if _key(row)[1::2] == (name, measure) and row.value is not None
                    ]
                )
            }
            summary |= {measure: means} if means else {}
        return Built(outputs=(SCORES,), summary=summary)

    def _scored(self, job: Job, source: Input, specs: Mapping[str, Spec]) -> list[ScoreRow]:
        """Score the probes of every spec, and the answers, by one model.

        Raises:
            DataError: no clause can be asked about.
        """
        from midspec.evals import resolve_items

        model = open_scorer(job.locate(source), job.device)
        rows: list[ScoreRow] = []
        for at, (name, spec) in enumerate(specs.items()):
            others = {other: each for other, each in specs.items() if other != name}
            rows += probe_rows(model, name, probes(spec, others, seed=self.draw))
            job.on_progress(at + 1, len(specs) + 1, f"asked about {name}")
        if not rows:
            hint = "Give specs of at least two clauses"
            raise DataError("no clause of the specs can be asked about", where=", ".join(specs), hint=hint)
        if self.items is not None:
            rows += loss_rows(model, resolve_items(job.locate(self.items)), self.asked)
        return rows


def _key(row: ScoreRow) -> tuple[str, str, str, str]:
    return row.task, row.set, row.item, row.measure


STEPS = SeamStep
