"""The step that curates rows: filters, a judge where there is one, contamination, health, and a comparison."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue

from midspec.core.artifact import Built, read_record, write_json
from midspec.core.errors import ConfigError, DataError, MissingError
from midspec.core.records import Comparison, Health, Item, Record, Spec
from midspec.llm import Store
from midspec.study._inputs import SHIPPED, EvalItems, File, Input
from midspec.study._step import Job, Step
from midspec.study.jobs._endpoints import ModelEndpoints, embedder, open_model, open_store, width_of, with_bill

if TYPE_CHECKING:
    from midspec.curate import CurateConfig, Evaluation
    from midspec.report import LabelledValue

# What a folder of rows may hold that decides what comes out.
_ROWS = ("documents.jsonl", "chats.jsonl", "chats_cot.jsonl", "chats_cot_stripped.jsonl", "plan.jsonl", "coverage.json")
_TEXTS = ("text", "question", "prompt", "input", "content")
_NO_SPEC = "Give the spec that the rows are about"


@dataclass(frozen=True, kw_only=True, eq=False)
class CurateStep(Step):
    """Rows that are fit to train on.

    Attributes:
        rows: the files of a folder of documents or chats by name; one file alone under the empty name.
        title: what the rows are called.
        config: which rows are kept.
        against: what the rows must not hold: each evaluation's items or texts by its name.
        spec: the spec that the rows are about; a judge needs it.
        other: other rows to compare what is kept with, as `rows`.
        endpoints: how the judge, and the model that gives vectors, are reached.
    """

    kind = "curate"
    rows: Mapping[str, Input]
    title: str
    config: CurateConfig
    against: Mapping[str, Input] = field(default_factory=dict)
    spec: Input | None = None
    other: Mapping[str, Input] = field(default_factory=dict)
    endpoints: ModelEndpoints = ModelEndpoints()

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
    ) -> CurateStep:
        """The step for rows outside a study.

        Args:
            rows: a folder of documents or chats, or a file of them.
            config: which rows are kept.
            against: what the rows must not hold: files of an evaluation's items or texts, `shipped:<value>`, or names
                of tasks. Each evaluation is called as its file, value or task.
            spec: the spec that the rows are about; a judge needs it.
            other: other rows to compare what is kept with.
            endpoints: how the judge is reached.

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
        )

    @property
    def inputs(self) -> dict[str, Input]:
        return {
            **_roles("rows", self.rows),
            **_roles("against", self.against),
            **({"spec": self.spec} if self.spec else {}),
            **_roles("other", self.other),
        }

    @property
    def settings(self) -> dict[str, JsonValue]:
        return {"title": self.title, "curate": self.config.model_dump(mode="json")}

    def run(self, job: Job, folder: Path) -> Built:
        """Curate the rows, and write the health page beside them.

        Raises:
            DataError: rows or items that are none.
            ConfigError: what the judge's run ends with: a missing key, a budget that is used up.
        """
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
        return _with_health_page(built, folder, self.title, self._comparison(job, folder), rows)

    def _judge(self, job: Job, folder: Path, rows: Path, evaluations: Mapping[str, Evaluation]) -> Built:
        """Curate, and have each document that the filters let pass read by the judge that the config names."""
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
                    width=width_of(access),
                )
                built = await judge_folder(
                    rows,
                    self.config,
                    folder,
                    judge,
                    evaluations=evaluations,
                    embed=embedder(self.config.embed, self.endpoints.author),
                    spec_text=spec.text,
                    on_progress=job.on_progress,
                )
            return with_bill(built, store)

        with open_store(job.store) as store:
            return asyncio.run(judge(store))

    def _spec(self, job: Job) -> Spec | None:
        if self.spec is None:
            return None
        from midspec.spec import fill, read_spec

        spec = read_spec(job.path(self.spec))
        return fill(spec, model_name=self.config.model_name, provider_name=self.config.provider_name)

    def _comparison(self, job: Job, folder: Path) -> Comparison | None:
        if not self.other:
            return None
        from midspec.curate import compare, read_any

        other = _place(job, self.other)
        names = (self.title, other.stem)
        return compare(read_any(folder), read_any(other), names=names, seed=self.config.seed)


def _roles(role: str, files: Mapping[str, Input]) -> dict[str, Input]:
    return {f"{role}/{name}" if name else role: source for name, source in files.items()}


def _place(job: Job, files: Mapping[str, Input]) -> Path:
    """One file, or the folder of several."""
    return job.path(files[""]) if "" in files else job.path(next(iter(files.values()))).parent


def _row_files(path: Path) -> dict[str, Input]:
    if path.is_file():
        return {"": File(str(path))}
    found: dict[str, Input] = {name: File(str(path / name)) for name in _ROWS if (path / name).is_file()}
    if not found:
        raise MissingError("holds no rows", where=str(path), hint="Give a folder with documents.jsonl or chats.jsonl")
    return found


def _held_out(named: str) -> tuple[str, Input]:
    """What an evaluation is called, and where what it asks comes from; a file goes before a name."""
    from midspec.evals import task_names

    if not Path(named).exists() and (named.startswith(SHIPPED) or named in task_names()):
        return named.removeprefix(SHIPPED), EvalItems(named)
    return Path(named).stem, File.at(Path(named))


def _evaluation(place: str) -> Evaluation:
    """An evaluation's items; or texts: a task's messages, a text file's lines, the first text of each JSONL row."""
    from midspec.curate import Evaluation
    from midspec.evals import shipped_items, task_named, task_names

    path = Path(place)
    if place in task_names() and not path.exists():
        task = task_named(place)
        questions = task.questions(task.config())
        return Evaluation(texts=list(dict.fromkeys(turn.content for each in questions for turn in each.messages)))
    if place.startswith(SHIPPED):
        return Evaluation(items=shipped_items(place.removeprefix(SHIPPED)))
    if path.suffix != ".jsonl":
        lines = path.read_text(encoding="utf-8").splitlines()
        return Evaluation(texts=[line.strip() for line in lines if line.strip()])
    items: list[Item] = []
    texts: list[str] = []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        if line.strip():
            _read_row(line, f"{path}:{number}", items.append, texts.append)
    return Evaluation(items=items, texts=texts)


def _read_row(line: bytes, where: str, add_item: Callable[[Item], None], add_text: Callable[[str], None]) -> None:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise DataError("is not JSON", where=where, hint="Mend or remove that line") from error
    if isinstance(row, dict) and "options" in row:
        add_item(Item.model_validate(row))
        return
    text = next((row[key] for key in _TEXTS if isinstance(row.get(key), str)), None) if isinstance(row, dict) else None
    if text is None:
        raise DataError("is neither an item nor a text", where=where, hint=f"Give `options`, or one of {_TEXTS}")
    add_text(text)


def _with_health_page(built: Built, folder: Path, title: str, comparison: Comparison | None, rows: Path) -> Built:
    """Write the health page. It tells of the run too (what was spent), so it is no part of the result's identity."""
    from midspec.report import write_health

    health = Health.model_validate_json((folder / "health.json").read_bytes())
    record = read_record(rows) if rows.is_dir() else None
    about, costs = _origin(record) if record else ((), ())
    page = write_health(health, folder, title=title, about=about, costs=costs, comparison=comparison)
    outputs = list(built.outputs)
    if comparison is not None:
        write_json(folder / "comparison.json", comparison)
        outputs.append("comparison.json")
    return built.model_copy(update={"outputs": tuple(outputs), "summary": built.summary | page.summary})


def _origin(record: Record) -> tuple[Sequence[LabelledValue], Sequence[LabelledValue]]:
    """Where rows come from, and what writing them cost, as their record says it."""
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
