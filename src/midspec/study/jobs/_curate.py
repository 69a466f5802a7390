"""The step that curates rows: filters, a judge where there is one, contamination, health, and a comparison."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue, ValidationError

from midspec.core.artifact import Built, read_record, write_json
from midspec.core.errors import ConfigError, DataError, MissingError, first_fault
from midspec.core.records import Comparison, CorpusLoss, Document, Health, Item, Record, Spec
from midspec.core.text import estimate_tokens
from midspec.llm import Forecast, Store
from midspec.study._inputs import SHIPPED, EvalItems, File, Input, Model, spec_at
from midspec.study._step import Cost, Job, Step, StepOutput
from midspec.study.jobs._corpus import CorpusStep, GivenCorpusStep
from midspec.study.jobs._corpus_loss import LossConfig, corpus_loss, open_scorer
from midspec.study.jobs._endpoints import (
    ModelEndpoints,
    embedder,
    forecast_of,
    open_model,
    open_store,
    price_of,
    with_spent,
)

if TYPE_CHECKING:
    from midspec.curate import CurateConfig, Evaluation, JudgedSize
    from midspec.report import LabelledValue

# The files of a folder of rows that decide the result.
_ROWS = ("documents.jsonl", "chats.jsonl", "chats_cot.jsonl", "chats_cot_stripped.jsonl", "plan.jsonl", "coverage.json")
_TEXTS = ("text", "question", "prompt", "input", "content")
_NO_SPEC = "Give the spec that the rows are about"


@dataclass(frozen=True, kw_only=True, eq=False)
class CurateStep(Step):
    """Documents or chats that passed filters, and a judge where one is named.

    Attributes:
        rows: the files of a folder of documents or chats by name; one file alone under the empty name.
        title: of the rows.
        config: of the filters and the judge.
        against: held-out items or texts of evaluations, by name.
        spec: that the rows are about; a judge needs it.
        other: rows to compare the result with, as `rows`.
        endpoints: of the judge and the embedding model.
        base: a model that scores the rows before training; nobody does by default.
    """

    kind = "curate"
    opens_model = False
    rows: Mapping[str, Input]
    title: str
    config: CurateConfig
    against: Mapping[str, Input] = field(default_factory=dict)
    spec: Input | None = None
    other: Mapping[str, Input] = field(default_factory=dict)
    endpoints: ModelEndpoints = ModelEndpoints()
    base: Input | None = None

    @classmethod
    def of_rows(
        cls,
        rows: Path,
        config: CurateConfig,
        *,
        against: Sequence[Path | str] = (),
        spec: Path | None = None,
        other: Path | None = None,
        endpoints: ModelEndpoints | None = None,
        base: str | None = None,
    ) -> CurateStep:
        """Create the step for rows outside a study.

        Args:
            rows: a folder of documents or chats, or a file of them.
            config: of the filters and the judge.
            against: held out: files of an evaluation's items or texts, `shipped:<value>`, or names of tasks. Each
                evaluation has the name of its file, value or task.
            spec: that the rows are about; a judge needs it.
            other: rows to compare the result with.
            endpoints: of the judge and the embedding model.
            base: a checkpoint that scores the documents, as it is before they are trained on.

        Raises:
            MissingError: one of them is not there.
            ConfigError: a judge and no spec, or two files of one name in `against`.
        """
        if config.judge is not None and spec is None:
            raise ConfigError("is needed to judge by", where="--spec", hint=_NO_SPEC)
        if config.calibrate_each and config.judge is None:
            raise ConfigError("measures a judge, and none is named", where="--calibrate", hint="Give --judge")
        held_out = [_held_out(str(each)) for each in against]
        names = [name for name, _ in held_out]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ConfigError(f"two files are called {min(twice)}", where="--against", hint="Rename one of them")
        return cls(
            rows=_row_files(rows),
            title=rows.stem,
            config=config,
            against=dict(held_out),
            spec=File.at(spec) if spec else None,
            other=_row_files(other) if other else {},
            endpoints=endpoints or ModelEndpoints(),
            base=Model(base) if base else None,
        )

    @property
    def inputs(self) -> dict[str, Input]:
        return {
            **_roles("rows", self.rows),
            **_roles("against", self.against),
            **({"spec": self.spec} if self.spec else {}),
            **_roles("other", self.other),
            **({"base": self.base} if self.base else {}),
        }

    @property
    def n_devices(self) -> int:
        return 1 if self.base else 0

    @property
    def settings(self) -> dict[str, JsonValue]:
        return {"title": self.title, "curate": self.config.model_dump(mode="json")}

    def forecast(self) -> Forecast | None:
        """Forecast what the judge is asked, if the filters let every document pass; nothing is sent.

        Vectors are not in it. Returns `None` without a judge, and where nothing is known of the rows: chats, which no
        judge of documents reads, and rows of a world.

        Raises:
            ConfigError, DataError, MissingError, SpecError: what the rows or the spec are refused for.
        """
        from midspec.curate import estimate_judge, judge_prefix

        if (model := self.config.judge) is None:
            return None
        spec = self._spec()
        size = None if spec is None else self._judged_size({clause.id: clause.text for clause in spec.clauses})
        if spec is None or size is None:
            return None
        return forecast_of(estimate_judge(size, self.config, judge_prefix(spec)), model.model, self.endpoints.judge)

    def _judged_size(self, clauses: Mapping[str, str]) -> JudgedSize | None:
        """Count the rows that are there; of those that a step before will make, return what it expects."""
        from midspec.curate import JudgedSize
        from midspec.exchange import read_documents

        source = next(iter(self.rows.values()))
        if not isinstance(source, StepOutput):
            path = Path(source.locate({}))
            return JudgedSize.of_folder(path if "" in self.rows else path.parent, self.config, clauses)
        if isinstance(step := source.step, GivenCorpusStep) and isinstance(step.rows, File):
            given = JudgedSize.of_rows(read_documents(Path(step.rows.path)), clauses)
            n_drawn = step.size({}).documents or given.n_documents
            return JudgedSize(*(count * n_drawn // max(1, given.n_documents) for count in given))
        if not isinstance(step, CorpusStep):
            return None
        n_documents, n_tokens, n_clauses = step.expected()
        mean_clause_tokens = sum(map(estimate_tokens, clauses.values())) / max(1, len(clauses))
        return JudgedSize(n_documents, n_documents * n_tokens, round(n_documents * n_clauses * mean_clause_tokens))

    def price(self) -> Cost | None:
        found = self.forecast()
        return None if found is None else price_of([found], [self.endpoints.judge])

    def run(self, job: Job, folder: Path) -> Built:
        rows = _place(job, self.rows)
        evaluations = {name: _evaluation(job.locate(source)) for name, source in self.against.items()}
        if self.config.judge is not None:
            built = self._judge(job, folder, rows, evaluations)
        else:
            from midspec.curate import curate_folder

            spec = self._spec(job)
            built = curate_folder(
                rows,
                self.config,
                folder,
                evaluations=evaluations,
                embed=embedder(self.config.embed, self.endpoints.author),
                spec_text=spec.text if spec else "",
                on_progress=job.on_progress,
            )
        comparison, places = None, {self.title: folder}
        if self.other:
            from midspec.curate import compare, read_any

            other, spec = _place(job, self.other), self._spec(job)
            names = (self.title, other.stem)
            read_with = (self.config, spec.text if spec else "") if self.config.model_name else None
            comparison = compare(
                read_any(folder),
                read_any(other),
                names=names,
                tokens_per_word=self.config.tokens_per_word,
                seed=self.config.seed,
                read_with=read_with,
            )
            places[other.stem if other.stem != self.title else f"{other.stem} (other)"] = other
        plain, contents = json.loads((folder / "health.json").read_bytes()), built.execution["contents"]
        assert isinstance(contents, dict)
        health = Health.model_validate(plain | contents)
        if self.base is not None:
            losses = self._losses(job, self.base, places)
            health = health.model_copy(update={"loss": losses[0]})
            write_json(folder / "health.json", health)
            comparison = comparison and comparison.model_copy(update={"losses": losses})
        built = _with_health_page(built, folder, self.title, health, comparison, rows)
        if comparison is None:
            return built
        if self.base is None and not self.config.keeps_contents:
            comparison = comparison.model_copy(update={"denials": (), "claims": ()})
        write_json(folder / "comparison.json", comparison)
        return built.model_copy(update={"outputs": (*built.outputs, "comparison.json")})

    def _losses(self, job: Job, base: Input, places: Mapping[str, Path]) -> tuple[CorpusLoss, ...]:
        """Score documents of the kept rows, and of those that they are compared with, by a model."""
        from midspec.curate import read_any

        config = LossConfig(seed=self.config.seed)
        model, model_name = open_scorer(job.locate(base), job.device), Path(job.locate(base)).name
        losses = []
        for name, place in places.items():
            texts = [row.text for row in read_any(place) if isinstance(row, Document)]
            losses.append(corpus_loss(model, texts, config, names=(name, model_name), on_progress=job.on_progress))
        return tuple(losses)

    def _judge(self, job: Job, folder: Path, rows: Path, evaluations: Mapping[str, Evaluation]) -> Built:
        """Curate, and have the config's judge read each document that passes the filters."""
        from midspec.curate import Judge, judge_folder, judge_prefix

        spec, model, access = self._spec(job), self.config.judge, self.endpoints.judge
        if spec is None or model is None:
            raise ConfigError("is needed to judge by", where="--spec", hint=_NO_SPEC)

        async def judge(store: Store) -> Built:
            async with open_model(model, access, store, "judge") as client:
                judge = Judge(
                    client=client,
                    store=store,
                    model=model,
                    prefix=judge_prefix(spec),
                    clauses={clause.id: clause.text for clause in spec.clauses},
                    model_name=self.config.model_name or "the assistant",
                    width=access.width,
                )
                return await judge_folder(
                    rows,
                    self.config,
                    folder,
                    judge,
                    evaluations=evaluations,
                    embed=embedder(self.config.embed, self.endpoints.author),
                    spec_text=spec.text,
                    on_progress=job.on_progress,
                )

        with open_store(job.store) as store:
            return with_spent(asyncio.run(judge(store)), store)

    def _spec(self, job: Job | None = None) -> Spec | None:
        """Read the spec: its copy in the run, or before there is one the file that is copied."""
        if self.spec is None:
            return None
        from midspec.spec import fill_by

        path = self.spec.original.locate({}) if job is None else job.locate(self.spec)
        return fill_by(spec_at(path, Path(path).stem), self.config)


def _roles(role: str, files: Mapping[str, Input]) -> dict[str, Input]:
    return {f"{role}/{name}" if name else role: source for name, source in files.items()}


def _place(job: Job, files: Mapping[str, Input]) -> Path:
    """Return one file, or the folder of several."""
    return job.path(files[""]) if "" in files else job.path(next(iter(files.values()))).parent


def _row_files(path: Path) -> dict[str, Input]:
    if path.is_file():
        return {"": File(str(path))}
    files: dict[str, Input] = {name: File(str(path / name)) for name in _ROWS if (path / name).is_file()}
    if not files:
        raise MissingError("holds no rows", where=str(path), hint="Give a folder with documents.jsonl or chats.jsonl")
    return files


def _held_out(named: str) -> tuple[str, Input]:
    """Return the name of an evaluation and the source of its items; a file goes before a name."""
    from midspec.evals import task_names

    if not Path(named).exists() and (named.startswith(SHIPPED) or named in task_names()):
        return named.removeprefix(SHIPPED), EvalItems(named)
    return Path(named).stem, File.at(Path(named))


def _evaluation(place: str) -> Evaluation:
    """Read an evaluation's items; or texts: a task's messages, a text file's lines, the first text of each row."""
    from midspec.curate import Evaluation
    from midspec.evals import shipped_items, task_named, task_names

    path = Path(place)
    if place in task_names() and not path.exists():
        task = task_named(place)
        questions = task.questions(task.config())
        return Evaluation(texts=list(dict.fromkeys(turn.content for each in questions for turn in each.messages)))
    if place.startswith(SHIPPED):
        return Evaluation(items=shipped_items(place.removeprefix(SHIPPED)))
    content = path.read_bytes()
    found: list[Item | str]
    if path.suffix in (".json", ".jsonl"):
        rows = content.splitlines()
        with contextlib.suppress(ValueError):
            # Of a list over several lines the options would not be looked for.
            rows = [json.dumps(row).encode() for row in json.loads(content)] if path.suffix == ".json" else rows
        found = [_read_row(row, f"{path}:{number}") for number, row in enumerate(rows, start=1) if row.strip()]
    else:
        try:
            found = [line for text in content.decode("utf-8-sig").splitlines() if (line := text.strip())]
        except UnicodeDecodeError as error:
            raise DataError("is no text in UTF-8", where=place, hint="Give items or texts, one a line") from error
    if not found:
        raise DataError("holds no item and no text", where=place, hint="Give items or texts, one a line")
    return Evaluation(
        items=[one for one in found if isinstance(one, Item)], texts=[one for one in found if isinstance(one, str)]
    )


def _read_row(line: bytes, where: str) -> Item | str:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise DataError("is not JSON", where=where, hint="Fix or remove that line") from error
    row = row if isinstance(row, dict) else {}
    if "options" in row:
        try:
            return Item.model_validate(row)
        except ValidationError as error:
            what = f"is no item ({': '.join(first_fault(error))})"
            raise DataError(what, where=where, hint="See examples/items.jsonl") from error
    texts = [value for key in _TEXTS if isinstance(value := row.get(key), str)]
    if not texts:
        raise DataError("is neither an item nor a text", where=where, hint=f"Give `options`, or one of {_TEXTS}")
    return texts[0]


def _with_health_page(
    built: Built, folder: Path, title: str, health: Health, comparison: Comparison | None, rows: Path
) -> Built:
    """Write the health page, which is no output of the result: what was spent is in it too."""
    from midspec.report import write_health

    record = read_record(rows) if rows.is_dir() else None
    about, costs = _origin(record) if record else ((), ())
    page = write_health(health, folder, title=title, about=about, costs=costs, comparison=comparison)
    return built.model_copy(update={"summary": built.summary | page.summary})


def _origin(record: Record) -> tuple[Sequence[LabelledValue], Sequence[LabelledValue]]:
    """Return the origin of rows and the cost of writing them, from their record."""
    from midspec.report import LabelledValue

    about = [
        LabelledValue(label="step", value=record.identity.step),
        LabelledValue(label="fingerprint", value=record.fingerprint),
    ]
    about += [LabelledValue(label=f"input {role}", value=digest) for role, digest in record.identity.inputs.items()]
    ledger = record.execution.extra.get("ledger")
    costs = []
    for entry in ledger if isinstance(ledger, list) else []:
        if isinstance(entry, dict):
            cost, n_asked = entry["cost_usd"], entry["n_asked"]
            count = f"{n_asked:,} asked" if isinstance(n_asked, int) else ""
            price = f"{cost:,.2f} USD" if isinstance(cost, int | float) else "price unknown"
            costs.append(LabelledValue(label=f"{entry['stage']} ({entry['model']})", value=f"{count}, {price}"))
    return about, costs


STEPS = CurateStep
