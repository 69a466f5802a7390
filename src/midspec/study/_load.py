"""A study file on disk -> a `Study`, or one line that says where in the file it is wrong."""

from __future__ import annotations

import json
import re
import types
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, JsonValue, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from midspec.core.artifact import RECORD, read_record
from midspec.core.errors import ConfigError, MissingError, did_you_mean
from midspec.core.records import Contrast
from midspec.evals import task_named, task_names
from midspec.study._config import StudyConfig
from midspec.study._entries import Evals, task_entries


class Study(NamedTuple):
    """A study and where it stands: relative paths in it start at `home`; `text` is the file, verbatim."""

    config: StudyConfig
    home: Path
    text: str


def load_study(path: Path) -> Study:
    """Read a study file.

    Raises:
        MissingError: there is no such file.
        ConfigError: it is not YAML, or not a study; names the line, the path in the file, and the mend.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise MissingError("there is no such study file", where=str(path), hint="Check the path") from error
    except UnicodeDecodeError as error:
        raise ConfigError("not a text file in UTF-8", where=str(path), hint="A study file is YAML") from error
    return parse_study(text, home=path.resolve().parent, name=str(path))


def parse_study(text: str, *, home: Path, name: str = "study") -> Study:
    """A study from the text of its file; `name` is what errors call it.

    Raises:
        ConfigError: as `load_study`.
    """
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        raw = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(
            f"not valid YAML ({error.problem or error.context})", where=f"{name}:{line}", hint="Mend that line"
        ) from error
    if not isinstance(raw, dict) or root is None:
        raise ConfigError("not a study: it must be a mapping", where=name, hint="See the examples folder")
    _refuse_twins(root, name)
    try:
        return Study(StudyConfig.model_validate(raw), home, text)
    except ValidationError as error:
        raise _config_error(error, raw, root, name) from error


def first_seeds(study: Study, count: int) -> Study:
    """The study with the first `count` of its seeds.

    Raises:
        ConfigError: it has fewer.
    """
    seeds = study.config.seeds
    if count > len(seeds):
        raise ConfigError(f"the study has {len(seeds)} seeds", where="--seeds", hint=f"Ask for at most {len(seeds)}")
    kept = seeds[:count]
    # The text goes with the run and into the report: it must say what was run.
    text = re.sub(r"^seeds:\s*\[[^]]*\]", f"seeds: {list(kept)}", study.text, count=1, flags=re.M)
    found = parse_study(text, home=study.home)
    if found.config.seeds != kept:
        raise ConfigError("the seeds are not a list in brackets", where="seeds", hint="Write them as [1, 2, 3]")
    return found


def study_schema() -> dict[str, Any]:
    """The JSON schema of a study file, for editors."""
    schema = StudyConfig.model_json_schema()
    eval_tasks = task_entries(*task_names()).model_json_schema()
    entries = schema["$defs"]["Evals"]["properties"]
    del entries["tasks"]
    for name, entry in eval_tasks["properties"].items():
        entries[name] = {"anyOf": [entry, {"type": "null"}]}
    schema["$defs"] = dict(sorted({**eval_tasks.get("$defs", {}), **schema["$defs"]}.items()))
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _refuse_twins(node: yaml.Node, name: str) -> None:
    """YAML lets a later key silently replace an earlier one; a study does not."""
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if key.value in seen:
                raise ConfigError(
                    f"{key.value!r} is named twice", where=f"{name}:{key.start_mark.line + 1}", hint="Remove one"
                )
            seen.add(key.value)
            _refuse_twins(value, name)
    elif isinstance(node, yaml.SequenceNode):
        for entry in node.value:
            _refuse_twins(entry, name)


def _config_error(error: ValidationError, raw: object, root: yaml.Node, name: str) -> ConfigError:
    problems = error.errors()
    # An unknown key is most often the cause of the missing one that is reported before it.
    first = next((problem for problem in problems if problem["type"] == "extra_forbidden"), problems[0])
    inner = first.get("ctx", {}).get("error")
    if isinstance(inner, ConfigError) and inner.where:
        return ConfigError(inner.what, where=f"{name}: {inner.where}", hint=inner.hint)
    path = tuple(_real_parts(first["loc"], raw, missing=first["type"] == "missing"))
    line = _line(root, path)
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    where = f"{name}:{line}: {_dotted(path)}" if path else f"{name}:{line}"
    if isinstance(inner, ConfigError):
        return ConfigError(inner.what + more, where=where, hint=inner.hint)
    return ConfigError(_what(first) + more, where=where, hint=_mend(first, path))


def _what(problem: ErrorDetails) -> str:
    if problem["type"] == "extra_forbidden":
        return "unknown key"
    if problem["type"] == "missing":
        return "this key is missing"
    return problem["msg"].removeprefix("Value error, ").rstrip(".")


def _mend(problem: ErrorDetails, path: tuple[str | int, ...]) -> str:
    if problem["type"] == "missing":
        return "Add it"
    if problem["type"] == "extra_forbidden":
        return did_you_mean(str(path[-1]), _fields_at(StudyConfig, path[:-1]))
    given = problem["input"]
    return f"It is {given!r} there" if isinstance(given, str | int | float | bool | None) else "Mend that key"


def _dotted(path: tuple[str | int, ...]) -> str:
    shown = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return shown.removeprefix(".")


def _real_parts(loc: tuple[str | int, ...], raw: object, *, missing: bool) -> Iterator[str | int]:
    """The parts of an error's location that are keys of the file, and not the names of types."""
    for index, part in enumerate(loc):
        known = raw if isinstance(raw, Mapping) else dict(enumerate(raw)) if isinstance(raw, list) else {}
        if part in known:
            raw = known[part]
        elif not (missing and index == len(loc) - 1):
            continue
        yield part


def _line(node: yaml.Node, path: tuple[str | int, ...]) -> int:
    """The line, from 1, of the deepest part of a path that is in the file."""
    line = node.start_mark.line
    for part in path:
        if isinstance(node, yaml.MappingNode):
            pair = next(((key, value) for key, value in node.value if key.value == str(part)), None)
            if pair is None:
                break
            line, node = pair[0].start_mark.line, pair[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            node = node.value[part]
            line = node.start_mark.line
    return int(line) + 1


def _fields_at(kind: object, path: tuple[str | int, ...]) -> tuple[str, ...]:
    """The field names of the model that stands at a path below `kind`."""
    for part in path:
        model = _model_in(kind)
        if model is Evals and part in task_names():
            kind = task_named(str(part)).config
        elif model is not None:
            kind = model.model_fields[str(part)].annotation
        else:
            kind = next((entry for entry in reversed(_alternatives(kind)) if _model_in(entry)), None)
    model = _model_in(kind)
    if model is Evals:
        return (*(name for name in model.model_fields if name != "tasks"), *task_names())
    return tuple(model.model_fields) if model else ()


def _model_in(kind: object) -> type[BaseModel] | None:
    """The pydantic model among a type's alternatives, if there is one."""
    options = _alternatives(kind) if get_origin(kind) in {Union, types.UnionType} else (kind,)
    return next((option for option in options if isinstance(option, type) and issubclass(option, BaseModel)), None)


def _alternatives(kind: object) -> tuple[object, ...]:
    return tuple(option for option in get_args(kind) if option not in {type(None), Ellipsis})


FIRST = "first_contrasts"
_RUN = "run.json"
_CONTRASTS = TypeAdapter(tuple[Contrast, ...])


def plain_contrasts(study: Study) -> list[JsonValue]:
    """A study's contrasts as JSON."""
    plain: list[JsonValue] = _CONTRASTS.dump_python(study.config.contrasts, mode="json")
    return plain


def first_contrasts(study: Study, folder: Path | None) -> list[JsonValue]:
    """The contrasts that stood when the first results of the run in `folder` came; the study's own where none did."""
    if folder is None or not any(any(folder.glob(f"steps/{kind}/*/{RECORD}")) for kind in ("eval", "exam")):
        return plain_contrasts(study)
    kept = json.loads((folder / _RUN).read_text(encoding="utf-8")) if (folder / _RUN).is_file() else {}
    if FIRST in kept:
        found: list[JsonValue] = kept[FIRST]
        return found
    # A run of a version that did not keep them: its analysis says what it was asked.
    record = read_record(folder / "steps" / "analysis")
    asked = record.identity.config["contrasts"] if record else plain_contrasts(study)
    return asked if isinstance(asked, list) else []


def changed_first_contrasts(study: Study, folder: Path | None) -> list[JsonValue] | None:
    """The run's first contrasts, where they are not the study's of now; else `None`."""
    first = first_contrasts(study, folder)
    return first if contrasts_changed(first, study.config.contrasts) else None


def contrasts_changed(first: object, now: Sequence[Contrast]) -> str:
    """What differs between the first contrasts and those of now, in a sentence; empty if nothing does."""
    before = {contrast.name: contrast for contrast in _CONTRASTS.validate_python(first)}
    changes = "; ".join(_changes(before, {contrast.name: contrast for contrast in now}))
    return f"The contrasts were changed after results existed: {changes}." if changes else ""


def _changes(before: Mapping[str, Contrast], now: Mapping[str, Contrast]) -> Iterator[str]:
    for name in now:
        if name not in before:
            yield f"{name!r} was added"
    for name, old in before.items():
        if name not in now:
            yield f"{name!r} was removed"
            continue
        for field in ("plus", "minus", "set", "measure", "says"):
            was, became = getattr(old, field), getattr(now[name], field)
            # Records do not hold the words: where there are none, none were kept.
            if was != became and not (field == "says" and not was):
                yield f"{field} of {name!r} was {was!r} and is {became!r}"
