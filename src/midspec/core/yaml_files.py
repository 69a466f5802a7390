"""YAML files of settings that people write: what is wrong in them is said in one line, and nothing is a surprise.

PyYAML's own loader lets a later key replace an earlier one, reads 010 as 8 and 1:30 as 90, makes lists that hold
themselves, and fails with ValueError, KeyError or AttributeError on a date like 2024-13-45 or `!!bool maybe`.
"""

from __future__ import annotations

import re
import types
from collections.abc import Callable, Iterator, Mapping
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

import yaml
from pydantic import AfterValidator, BaseModel

from midspec.core.errors import ConfigError, MissingError

PROSE_SUFFIXES = frozenset((".md", ".markdown", ".txt", ".rst", ".adoc"))
"""Endings of files that hold a spec rather than settings."""

_MAX_VALUES = 200_000
_OCTAL = re.compile(r"[-+]?0[0-7_]+")
_SHOWN_CHARS = 60


def check_regex(pattern: str) -> str:
    """Return a regular expression that compiles; raises ValueError, as validators do, where it does not."""
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{pattern!r} is no regular expression ({error})") from error
    return pattern


Regex = Annotated[str, AfterValidator(check_regex)]
"""A regular expression that a person wrote."""


class _Loader(yaml.SafeLoader):
    """The safe loader, with an error of YAML's own kind, and so a line, for every value that can't be made."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, KeyError, AttributeError, TypeError, OverflowError) as error:
            shown = ascii(node.value)[:_SHOWN_CHARS] if isinstance(node, yaml.ScalarNode) else "that value"
            what = f"{shown} is no {node.tag.rpartition(':')[2]}"
            raise yaml.constructor.ConstructorError(None, None, what, node.start_mark) from error

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        value: int = super().construct_yaml_int(node)
        str(value)  # a ValueError where it has more digits than Python writes, as of a long hexadecimal number
        if ":" in node.value or _OCTAL.fullmatch(node.value):
            what = f"YAML reads {node.value} as {value}: write that number, or quotes around a text"
            raise yaml.constructor.ConstructorError(None, None, what, node.start_mark)
        return value

    def construct_yaml_float(self, node: yaml.ScalarNode) -> float:
        value: float = super().construct_yaml_float(node)
        if ":" in node.value:
            what = f"YAML reads {node.value} as {value}: write that number, or quotes around a text"
            raise yaml.constructor.ConstructorError(None, None, what, node.start_mark)
        return value


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.construct_yaml_float)


def read_yaml(path: Path | Traversable) -> Any:
    """Return what a YAML file says.

    Raises:
        MissingError: there is no such file.
        ConfigError: as `parse_yaml`; or it is no file, or not UTF-8.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise MissingError("there is no such file", where=str(path), hint="Check the path") from error
    except (IsADirectoryError, UnicodeDecodeError) as error:
        what = "is not YAML in UTF-8" if isinstance(error, UnicodeDecodeError) else "is a folder, not a file"
        raise ConfigError(what, where=str(path), hint="Fix the file") from error
    return parse_yaml(text, str(path))


def parse_yaml(text: str, name: str) -> Any:
    """Return what the text of a YAML file says; errors call it `name`.

    Raises:
        ConfigError: it is no YAML, a key stands twice in one mapping, an alias stands for what it is part of, or a
            number is written in a way that YAML reads as another; names the line.
    """
    compose_yaml(text, name)
    return _told(lambda: yaml.load(text, Loader=_Loader), text, name)  # noqa: S506 - a safe loader


def compose_yaml(text: str, name: str) -> yaml.Node | None:
    """Return the nodes of a YAML text, with their lines; checked as `parse_yaml` does, but for single values.

    Raises:
        ConfigError: as `parse_yaml`.
    """
    root: yaml.Node | None = _told(lambda: yaml.compose(text, Loader=yaml.SafeLoader), text, name)
    if root is not None:
        _told(lambda: _count_values(root, name, {}), text, name)
    return root


def _told(make: Callable[[], Any], text: str, name: str) -> Any:
    try:
        return make()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{name}:{mark.line + 1}" if mark else name
        what = " ".join((error.problem or error.context or "").split())
        raise ConfigError(f"not YAML ({what})", where=where, hint="Fix that line") from error
    except yaml.reader.ReaderError as error:
        # Control characters, of a terminal's colours, say.
        line = text.count("\n", 0, error.position) + 1
        what = f"the character U+{error.character:04X} can't stand in YAML"
        raise ConfigError(what, where=f"{name}:{line}", hint="Remove it") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"not YAML ({' '.join(str(error).split())})", where=name, hint="Fix it") from error
    except RecursionError as error:
        raise ConfigError("is nested too deeply", where=name, hint="Write it with fewer levels") from error


def _count_values(node: yaml.Node, name: str, counts: dict[int, int]) -> int:
    """Count the values of a node with aliases unfolded, and refuse twin keys, aliases of themselves, and too many."""
    if id(node) in counts:
        if counts[id(node)] == 0:
            raise _fault("an alias stands for a value that it is part of", node, name)
        return counts[id(node)]
    counts[id(node)] = 0
    inner: list[yaml.Node] = []
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                name_of_key = _as_number(key) or key.value
                if name_of_key in seen:
                    where = f"{name}:{key.start_mark.line + 1}"
                    raise ConfigError(f"{key.value!r} is named twice", where=where, hint="Remove one")
                seen.add(name_of_key)
                if (
                    key.tag == "tag:yaml.org,2002:bool"
                ):  # no setting is called so: YAML 1.1 reads `on` and `no` as truths
                    what = f"YAML reads the key {key.value} as {str(yaml.safe_load(key.value)).lower()}"
                    raise ConfigError(
                        what, where=f"{name}:{key.start_mark.line + 1}", hint=f'Write it in quotes: "{key.value}"'
                    )
            inner += [key, value]
    elif isinstance(node, yaml.SequenceNode):
        inner = node.value
    n_values = 1 + sum(_count_values(one, name, counts) for one in inner)
    if n_values > _MAX_VALUES:
        raise _fault(f"its aliases unfold to more than {_MAX_VALUES:,} values", node, name)
    counts[id(node)] = n_values
    return n_values


def _as_number(key: yaml.ScalarNode) -> str | None:
    """Return what a key comes to that YAML reads as a number: 1, 1.0 and 0x1 are one key of a mapping."""
    if key.tag.rpartition(":")[2] not in {"int", "float"}:
        return None
    try:
        value = _Loader("").construct_object(key)
        return str(int(value) if value == int(value) else value)
    except (yaml.YAMLError, ValueError, OverflowError):
        return None  # infinite, or told with its line when values are made


def _fault(what: str, node: yaml.Node, name: str) -> ConfigError:
    return ConfigError(what, where=f"{name}:{node.start_mark.line + 1}", hint="Write it without that alias")


# Truth values ------------------------------------------------------------------------------------------------------
def truths_for_numbers(kind: object, raw: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield the places where `yes`, `on` or `true` stands for a number of a model, which pydantic would take as 1.

    Args:
        kind: a pydantic model, or the type of a field.
        raw: what a file says for it.
        path: the place of `raw` in the file.
    """
    kinds = list(_alternatives(kind))
    if isinstance(raw, bool) and bool not in kinds and (int in kinds or float in kinds):
        yield path
    for one in kinds:
        for key, inner, value in _inside(one, raw):
            yield from truths_for_numbers(inner, value, (*path, key))


def _inside(kind: object, raw: object) -> Iterator[tuple[str | int, object, object]]:
    """Yield the keys of a mapping or list, each with the type that `kind` has for its value, where it has one."""
    inner = [one for one in get_args(kind) if one is not Ellipsis]
    if isinstance(raw, list) and inner:
        for at, value in enumerate(raw):
            yield at, inner[min(at, len(inner) - 1)], value
    elif isinstance(raw, Mapping) and isinstance(kind, type) and issubclass(kind, BaseModel):
        for key, value in raw.items():
            if (field := kind.model_fields.get(str(key))) is not None:
                yield str(key), field.annotation, value
    elif isinstance(raw, Mapping) and len(inner) > 1:
        for key, value in raw.items():
            yield str(key), inner[1], value


def _alternatives(kind: object) -> Iterator[object]:
    """Yield the members of a union, and of what is annotated or named the type itself."""
    if hasattr(kind, "__value__"):
        yield from _alternatives(kind.__value__)
    elif get_origin(kind) in {Union, types.UnionType}:
        for one in get_args(kind):
            yield from _alternatives(one)
    elif hasattr(kind, "__metadata__"):
        yield from _alternatives(get_args(kind)[0])
    else:
        yield kind
