"""Read a study file into a `Study`, or say in one line where in the file it is wrong."""

from __future__ import annotations

import json
import re
import types
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Union, get_args, get_origin

import yaml
from pydantic import AliasChoices, BaseModel, ValidationError

from midspec.core.errors import ConfigError, MissingError, did_you_mean, fault_words, note_renamed
from midspec.core.yaml_files import PROSE_SUFFIXES, compose_yaml, parse_yaml, truths_for_numbers
from midspec.evals import task_named, task_names
from midspec.generation import TEMPLATE_AUTHOR
from midspec.lab import data_path
from midspec.study._config import StudyConfig
from midspec.study._entries import AUTHOR_ALIAS, Evals, task_entries
from midspec.study._step import STUDY_FILE

_LAB = "lab:"
EXTENDS = "extends"
"""The key that names another study file, of which a file says only what is otherwise."""


class Study(NamedTuple):
    """A study and where it stands: relative paths in it start at `home`; `text` is the file, verbatim."""

    config: StudyConfig
    home: Path
    text: str


def load_study(path: Path) -> Study:
    """Read a study file, or one that the lab ships as `lab:FILE`; log one line for each old name in it.

    A file that `extends` another has all that the other says and it doesn't: mappings are taken together key by key,
    at every depth, and `arms` are its own alone. The study's text is then what both say together.

    Raises:
        MissingError: there is no such file.
        ConfigError: it is not YAML, or not a study; names the line, the path in the file, and a hint.
    """
    if path.suffix.lower() in PROSE_SUFFIXES or str(path).startswith("shipped:"):
        hint = (
            f"Look at it with midspec spec check {path}; a study (YAML) names it under `specs`, as examples/qwen3.yaml"
        )
        raise ConfigError("reads as a spec, and is no study file", where=str(path), hint=hint)
    path, text = _read_study(path)
    root, raw = _mapping(text, str(path))
    if EXTENDS in raw:
        raw = _extended(raw, path, ())
        text = _dumped(raw)
    study = _study(raw, root, text, home=path.resolve().parent, name=str(path))
    for key, old, new in _old_names(raw):
        note_renamed(old, new, f"{path}:{_line(root, key)}")
    return study


def _read_study(path: Path) -> tuple[Path, str]:
    """Return the place and the text of a study file."""
    if str(path).startswith(_LAB):
        path = data_path(str(path).removeprefix(_LAB))
    try:
        return path, path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        beside = [one.name for one in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
        hint = did_you_mean(path.name, beside)
        hint = hint if hint.startswith("Did") else "Check the path"
        raise MissingError("there is no such study file", where=str(path), hint=hint) from error
    except IsADirectoryError as error:
        hint = "Name its study.yaml, or ask midspec status" if (path / STUDY_FILE).is_file() else "Name a file in it"
        raise ConfigError("is a folder, and no study file", where=str(path), hint=hint) from error
    except UnicodeDecodeError as error:
        raise ConfigError("not a text file in UTF-8", where=str(path), hint="A study file is YAML") from error


def _mapping(text: str, name: str) -> tuple[yaml.Node, dict[str, Any]]:
    """Return the nodes of a study file, which have its lines, and what it says."""
    root, raw = compose_yaml(text, name), parse_yaml(text, name)
    if not isinstance(raw, dict) or root is None:
        raise ConfigError("not a study: it must be a mapping", where=name, hint="See the examples folder")
    return root, raw


def _extended(raw: Mapping[str, Any], path: Path, before: tuple[Path, ...]) -> dict[str, Any]:
    """Return what a study file and those that it extends say together.

    Args:
        raw: what the file itself says.
        path: its place.
        before: the files that extend it.

    Raises:
        ConfigError: it extends itself, or something that is no study file.
    """
    where, given = f"{path}: {EXTENDS}", raw[EXTENDS]
    if not isinstance(given, str) or not given:
        raise ConfigError("is not the name of a file", where=where, hint="Give one study file, as lab:nano.yaml")
    other, text = _read_study(Path(given) if given.startswith(_LAB) else path.parent / Path(given).expanduser())
    if other.resolve() in (files := (*before, path.resolve())):
        raise ConfigError(f"{given} extends this file", where=where, hint="A study can't extend itself")
    _, base = _mapping(text, str(other))
    base = _extended(base, other, files) if EXTENDS in base else base
    own = {key: value for key, value in raw.items() if key != EXTENDS}
    return _joined({key: value for key, value in base.items() if key != "arms" or key not in own}, own)


def _joined(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Return two mappings as one: what both have as mappings is joined in turn, and of anything else `own` has it."""
    joined = dict(base)
    for key, value in own.items():
        both = isinstance(value, dict) and isinstance(joined.get(key), dict)
        joined[key] = _joined(joined[key], value) if both else value
    return joined


def _old_names(raw: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], str, str]]:
    """Yield each old name that a study file uses, once: where it is first, the old name and the new one."""
    entries = [(part, name, entry) for part in ("corpora", "chats") for name, entry in (raw.get(part) or {}).items()]
    uses_key = next(((part, name, "frames") for part, name, entry in entries if "frames" in entry), None)
    author = (key for key in ((*entry[:2], "author") for entry in entries if entry[2].get("author") == TEMPLATE_AUTHOR))
    uses_author = next(author, None)
    if uses_key:
        yield uses_key, "frames", "templates"
    if uses_author:
        yield uses_author, f"author: {TEMPLATE_AUTHOR}", f"author: {AUTHOR_ALIAS}"


def parse_study(text: str, *, home: Path, name: str = "study") -> Study:
    """Parse the text of a study file; errors call it `name`.

    Raises:
        ConfigError: as `load_study`.
    """
    root, raw = _mapping(text, name)
    return _study(raw, root, text, home=home, name=name)


def _study(raw: dict[str, Any], root: yaml.Node | None, text: str, *, home: Path, name: str) -> Study:
    """Return what a study file says as a study; `root` has the lines of `raw`, where they are in the file itself."""
    for path in truths_for_numbers(StudyConfig, raw):
        what = "a truth value (yes, no, on, off, true, false) where a number must be"
        place = f"{name}:{_line(root, path)}" if root else name
        raise ConfigError(what, where=f"{place}: {_dotted(path)}", hint="Write the number")
    try:
        return Study(StudyConfig.model_validate(raw), home, text)
    except ValidationError as error:
        raise _config_error(error, raw, root, name) from error


HERE = ("./", "../", "~")
"""How a value of `--set` begins that is a path from the current folder."""


def with_settings(study: Study, given: Sequence[str]) -> Study:
    """Return a study with some of its settings changed; its text is then what was changed.

    Args:
        study: as it was read.
        given: each `KEY=VALUE`. A key is the way to a setting, with dots between its parts; a part `*` stands for every
            entry there. A value is YAML. One that begins with `./`, `../` or `~` is a path from the current folder.

    Raises:
        ConfigError: one is no such pair, leads nowhere, or makes no study.
    """
    if not given:
        return study
    # Anchors are one object at several places, and only one of them is to change.
    raw = json.loads(json.dumps(parse_yaml(study.text, "study"), default=str))
    for each in given:
        key, equals, text = each.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"{each!r} is not KEY=VALUE", where="--set", hint="As in --set seeds=[1]")
        value = parse_yaml(text, f"--set {key}")
        if isinstance(value, str) and value.startswith(HERE):
            value = str(Path(value).expanduser().absolute())
        raw = _changed(raw, key.strip(), value, f"--set {key}")
    text = "".join(f"# {line}\n" for each in given for line in f"--set {each}".splitlines()) + _dumped(raw)
    _, raw = _mapping(text, "--set")
    return _study(raw, None, text, home=study.home, name="--set")


def _changed(node: Any, path: str, value: Any, where: str) -> Any:
    """Return a part of a study file with `value` at the end of a path; keys may have dots of their own."""
    if not path:
        return value
    if not isinstance(node, dict | list | None):
        raise ConfigError(f"{node!r} has no part {path!r}", where=where, hint="End the key before it")
    entries = dict(enumerate(node)) if isinstance(node, list) else dict(node or {})
    names = {str(key): key for key in entries}
    fits = [name for name in names if path == name or path.startswith(f"{name}.")]
    head = max(fits, key=len, default=path.partition(".")[0])
    keys = list(entries) if head == "*" and not fits else [names.get(head, head)]
    if not keys or (isinstance(node, list) and not set(keys) <= set(entries)):
        hint = did_you_mean(head, names) if names else "`midspec plan --schema` lists all settings"
        raise ConfigError(f"there is no entry {head!r}", where=where, hint=hint)
    for key in keys:
        entries[key] = _changed(entries.get(key), path[len(head) + 1 :], value, where)
    return list(entries.values()) if isinstance(node, list) else entries


def _dumped(raw: Mapping[str, Any]) -> str:
    text: str = yaml.safe_dump(raw, sort_keys=False, allow_unicode=True, default_flow_style=None, width=120)
    return text


def first_seeds(study: Study, count: int) -> Study:
    """Return the study with the first `count` of its seeds.

    Raises:
        ConfigError: it has fewer.
    """
    seeds = study.config.seeds
    if count > len(seeds):
        raise ConfigError(f"the study has {len(seeds)} seeds", where="--seeds", hint=f"Ask for at most {len(seeds)}")
    first = seeds[:count]
    # The text goes with the run and into the report: it must say what was run.
    text = re.sub(r"^seeds:\s*\[[^]]*\]", f"seeds: {list(first)}", study.text, count=1, flags=re.M)
    shorter = parse_study(text, home=study.home)
    if shorter.config.seeds != first:
        raise ConfigError("the seeds are not a list in brackets", where="seeds", hint="Write them as [1, 2, 3]")
    return shorter


def study_schema() -> dict[str, Any]:
    """Return the JSON schema of a study file, for editors."""
    schema = StudyConfig.model_json_schema()
    eval_tasks = task_entries(*task_names()).model_json_schema()
    entries = schema["$defs"]["Evals"]["properties"]
    del entries["tasks"]
    schema["properties"] = {EXTENDS: {"type": "string"}, **schema["properties"]}
    schema["anyOf"] = [{"required": [EXTENDS]}, {"required": schema.pop("required")}]
    for name, entry in eval_tasks["properties"].items():
        entries[name] = {"anyOf": [entry, {"type": "null"}]}
    schema["$defs"] = dict(sorted({**eval_tasks.get("$defs", {}), **schema["$defs"]}.items()))
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _config_error(error: ValidationError, raw: object, root: yaml.Node | None, name: str) -> ConfigError:
    """Return what is wrong as one error; without `root`, no line of a file is named."""
    problems = error.errors()
    # An unknown key is most often the cause of the missing one that is reported before it.
    first = next((problem for problem in problems if problem["type"] == "extra_forbidden"), problems[0])
    inner = first.get("ctx", {}).get("error")
    if isinstance(inner, ConfigError) and inner.where:
        return ConfigError(inner.what, where=f"{name}: {inner.where}", hint=inner.hint)
    path = tuple(_file_keys(first["loc"], raw, missing=first["type"] == "missing"))
    given = first["input"]
    match first["type"]:
        case "missing":
            what, hint = "this key is missing", "Add it"
        case "extra_forbidden":
            what, hint = "unknown key", did_you_mean(str(path[-1]), _fields_at(StudyConfig, path[:-1]))
        case _ if isinstance(inner, ConfigError):
            what, hint = inner.what, inner.hint
        case _:
            what = fault_words(first)
            is_plain = isinstance(given, str | int | float | bool | None)
            hint = f"It is {given!r} there" if is_plain else "Fix that key"
            if first["type"] == "string_type" and isinstance(given, bool):
                words = "on, yes or true" if given else "off, no or false"
                hint = f"YAML reads {words} as a truth: write it in quotes"
            if (
                first["type"] in {"tuple_type", "list_type"}
                and isinstance(given, str | int)
                and isinstance(path[-1], str)
            ):
                hint = f"Write {path[-1]}: [{given}]"
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    place = f"{name}:{_line(root, path)}" if root else name
    where = f"{place}: {_dotted(path)}" if path else place
    return ConfigError(what + more, where=where, hint=hint)


def _dotted(path: Sequence[str | int]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


def _file_keys(loc: tuple[str | int, ...], raw: object, *, missing: bool) -> Iterator[str | int]:
    """Yield the parts of an error's location that are keys of the file, and not the names of types."""
    for index, part in enumerate(loc):
        known = raw if isinstance(raw, Mapping) else dict(enumerate(raw)) if isinstance(raw, list) else {}
        if part in known:
            raw = known[part]
        elif not (missing and index == len(loc) - 1):
            continue
        yield part


def _line(node: yaml.Node, path: Sequence[str | int]) -> int:
    """Return the line, from 1, of the deepest part of a path that is in the file."""
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
    """Return the field names of the model at a path below `kind`, by the names that a file should use."""
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
    aliases = ((name, field.validation_alias) for name, field in (model.model_fields if model else {}).items())
    return tuple(str(alias.choices[0]) if isinstance(alias, AliasChoices) else name for name, alias in aliases)


def _model_in(kind: object) -> type[BaseModel] | None:
    """Return the pydantic model among a type's alternatives, if there is one."""
    options = _alternatives(kind) if get_origin(kind) in {Union, types.UnionType} else (kind,)
    return next((option for option in options if isinstance(option, type) and issubclass(option, BaseModel)), None)


def _alternatives(kind: object) -> tuple[object, ...]:
    return tuple(option for option in get_args(kind) if option not in {type(None), Ellipsis})
