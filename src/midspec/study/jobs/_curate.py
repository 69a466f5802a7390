"""Rows curated as a step: filters, a judge where there is one, contamination, health, and a comparison."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue

from midspec.core.artifact import Built, read_record, write_json
from midspec.core.errors import ConfigError, DataError, MissingError
from midspec.core.progress import ProgressCallback
from midspec.core.records import Comparison, Health, Item, Record, Spec
from midspec.study._steps import SHIPPED, Source, Step

if TYPE_CHECKING:
    from midspec.curate import CurateConfig, Evaluation
    from midspec.report import LabelledValue
    from midspec.study.jobs._llm_authors import ModelEndpoints


# What a folder of rows may hold that has a say in what comes out.
_ROWS = ("documents.jsonl", "chats.jsonl", "chats_cot.jsonl", "chats_cot_stripped.jsonl", "plan.jsonl", "coverage.json")
_TEXTS = ("text", "question", "prompt", "input", "content")


def curate_step(
    rows: Path,
    config: CurateConfig,
    *,
    against: Sequence[Path | str] = (),
    spec: Path | None = None,
    other: Path | None = None,
    way: ModelEndpoints | None = None,
) -> Step:
    """Rows curated.

    Args:
        rows: a folder of documents or chats, or a file of them.
        config: which rows are kept.
        against: what the rows must not hold: files of an evaluation's items or texts, `shipped:<value>`, or names of
            exams. Each evaluation is called as its file, value or exam.
        spec: the spec that the rows are about; a judge needs it.
        other: other rows to compare what is kept with.
        way: how the judge is reached.

    Raises:
        MissingError: one of them is not there.
        ConfigError: a judge and no spec, or two files of one name in `against`.
    """
    if config.judge is not None and spec is None:
        raise ConfigError("is needed to judge by", where="--spec", hint="Give the spec that the rows are about")
    if config.calibrate_each and config.judge is None:
        raise ConfigError("measures a judge, and none is named", where="--calibrate", hint="Give --judge")
    held_out = [_held_out(str(each)) for each in against]
    names = [name for name, _ in held_out]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ConfigError(f"two files are called {min(twice)}", where="--against", hint="Rename one of them")
    sources = _files("rows", rows)
    sources |= {f"against/{name}": source for name, source in held_out}
    sources |= {"spec": _file(spec)} if spec else {}
    sources |= _files("other", other) if other else {}
    settings = {"title": rows.stem, "curate": config.model_dump(mode="json")}
    return Step(kind="curate", sources=sources, config=settings, options=way.options if way else {})


def _held_out(named: str) -> tuple[str, Source]:
    """What an evaluation is called, and where what it asks comes from; a file goes before a name."""
    from midspec.evals import task_names

    if not Path(named).exists() and (named.startswith(SHIPPED) or named in task_names()):
        return named.removeprefix(SHIPPED), Source(asked=named)
    return Path(named).stem, _file(Path(named))


def _files(role: str, path: Path) -> dict[str, Source]:
    if path.is_file():
        return {role: Source(path=str(path))}
    found = {f"{role}/{name}": Source(path=str(path / name)) for name in _ROWS if (path / name).is_file()}
    if not found:
        raise MissingError("holds no rows", where=str(path), hint="Give a folder with documents.jsonl or chats.jsonl")
    return found


def _file(path: Path) -> Source:
    if not path.is_file():
        raise MissingError("there is no such file", where=str(path), hint="Check the path")
    return Source(path=str(path))


# Making --------------------------------------------------------------------------------------------------------
def curate_rows(
    inputs: Mapping[str, str],
    config: CurateConfig,
    folder: Path,
    *,
    title: str,
    way: ModelEndpoints | None,
    on_progress: ProgressCallback,
) -> Built:
    """Curate the rows of a step's inputs into `folder`, and write the health page beside them.

    Raises:
        DataError: rows or items that are none.
        ConfigError: what the judge's run ends with: a missing key, a budget that is used up.
    """
    from midspec.curate import curate_folder

    rows = _place(inputs, "rows")
    evaluations = {
        role.removeprefix("against/"): _evaluation(place)
        for role, place in inputs.items()
        if role.startswith("against/")
    }
    spec = _spec(inputs, config)
    if config.judge is not None and (spec is None or way is None):
        raise ConfigError("is needed to judge by", where="--spec", hint="Give the spec that the rows are about")
    if config.judge is not None and spec is not None and way is not None:
        from midspec.study.jobs._llm_authors import judge_by_model

        built = judge_by_model(rows, config, way, folder, spec=spec, evaluations=evaluations, on_progress=on_progress)
    else:
        vectors = None
        if config.embed is not None and way is not None:
            from midspec.study.jobs._llm_authors import embedder

            vectors = embedder(config.embed, way.author)
        text = spec.text if spec else ""
        built = curate_folder(
            rows, config, folder, evaluations=evaluations, embed=vectors, spec_text=text, on_progress=on_progress
        )
    comparison = _compared(inputs, config, folder, title)
    return _with_pages(built, folder, title, comparison, rows)


def _place(inputs: Mapping[str, str], role: str) -> Path:
    """The file of a role, or the folder of its files."""
    if role in inputs:
        return Path(inputs[role])
    return next(Path(path).parent for name, path in inputs.items() if name.startswith(f"{role}/"))


def _spec(inputs: Mapping[str, str], config: CurateConfig) -> Spec | None:
    if "spec" not in inputs:
        return None
    from midspec.spec import fill, read_spec

    return fill(read_spec(Path(inputs["spec"])), model_name=config.model_name, provider_name=config.provider_name)


def _evaluation(place: str) -> Evaluation:
    """An evaluation's items; or texts: an exam's messages, a text file's lines, the first text of each JSONL row."""
    from midspec.curate import Evaluation
    from midspec.evals import shipped_items, task_names

    path = Path(place)
    if place in task_names() and not path.exists():
        return Evaluation(texts=_messages(place))
    if place.startswith(SHIPPED):
        return Evaluation(items=shipped_items(place.removeprefix(SHIPPED)))
    if path.suffix != ".jsonl":
        return Evaluation(
            texts=[line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        )
    items: list[Item] = []
    texts: list[str] = []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        if line.strip():
            _read_into(line, f"{path}:{number}", items, texts)
    return Evaluation(items=items, texts=texts)


def _messages(eval_task: str) -> list[str]:
    """All that an exam says to a model under its own settings, each text once."""
    from midspec.evals import task_named

    found = task_named(eval_task)
    questions = found.questions(found.config())
    return list(dict.fromkeys(message.content for each in questions for message in each.messages))


def _read_into(line: bytes, where: str, items: list[Item], texts: list[str]) -> None:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise DataError("is not JSON", where=where, hint="Mend or remove that line") from error
    if isinstance(row, dict) and "options" in row:
        items.append(Item.model_validate(row))
        return
    text = next((row[key] for key in _TEXTS if isinstance(row.get(key), str)), None) if isinstance(row, dict) else None
    if text is None:
        raise DataError("is neither an item nor a text", where=where, hint=f"Give `options`, or one of {_TEXTS}")
    texts.append(text)


def _compared(inputs: Mapping[str, str], config: CurateConfig, folder: Path, title: str) -> Comparison | None:
    if not any(role.partition("/")[0] == "other" for role in inputs):
        return None
    from midspec.curate import compare, read_any

    other = _place(inputs, "other")
    return compare(read_any(folder), read_any(other), names=(title, other.stem), seed=config.seed)


def _with_pages(built: Built, folder: Path, title: str, comparison: Comparison | None, rows: Path) -> Built:
    """Write the health page. It tells of the run too (what was spent), so it is no part of the result's identity."""
    from midspec.report import write_health

    health = Health.model_validate_json((folder / "health.json").read_bytes())
    record = read_record(rows) if rows.is_dir() else None
    about, costs = _about(record) if record else ((), ())
    page = write_health(health, folder, title=title, about=about, costs=costs, comparison=comparison)
    outputs = list(built.outputs)
    if comparison is not None:
        write_json(folder / "comparison.json", comparison)
        outputs.append("comparison.json")
    return built.model_copy(update={"outputs": tuple(outputs), "summary": built.summary | page.summary})


def _about(record: Record) -> tuple[Sequence[LabelledValue], Sequence[LabelledValue]]:
    """Where rows come from, and what writing them cost, as their record says it."""
    from midspec.report import LabelledValue

    about = [
        LabelledValue(label="step", value=record.identity.step),
        LabelledValue(label="fingerprint", value=record.fingerprint),
    ]
    about += [LabelledValue(label=f"input {role}", value=digest) for role, digest in record.identity.inputs.items()]
    ledger = record.execution.extra.get("ledger")
    entries = [entry for entry in ledger if isinstance(entry, dict)] if isinstance(ledger, list) else []
    return about, [
        LabelledValue(label=f"{entry['stage']} ({entry['model']})", value=_spent(entry)) for entry in entries
    ]


def _spent(entry: Mapping[str, JsonValue]) -> str:
    cost = entry["cost_usd"]
    asked = f"{entry['n_asked']:,} asked" if isinstance(entry["n_asked"], int) else ""
    return f"{asked}, {f'{cost:,.2f} USD' if isinstance(cost, int | float) else 'price unknown'}"
