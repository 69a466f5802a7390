"""Settings of an evaluation from a YAML file: a path and the settings' type enter, checked settings leave."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import ValidationError

from midspec.core.errors import ConfigError, MissingError
from midspec.core.records import Strict

StrictT = TypeVar("StrictT", bound=Strict)


def read_settings(path: Path, kind: type[StrictT]) -> StrictT:
    """The settings in a YAML file; what it does not name stays as it is by default.

    Raises:
        MissingError: there is no such file.
        ConfigError: it is not YAML, or a setting is unknown or wrong; names the setting.
    """
    if not path.is_file():
        raise MissingError("there is no such file", where=str(path), hint="Check the path")
    try:
        return kind.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")) or {})
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"not YAML ({error})", where=str(path), hint="Mend the file") from error
    except ValidationError as error:
        raise _wrong(error, str(path)) from error


def with_settings(config: StrictT, settings: Mapping[str, object]) -> StrictT:
    """`config` with some settings in place of its own.

    Raises:
        ConfigError: a setting is unknown or wrong; names it.
    """
    try:
        return type(config).model_validate({**config.model_dump(), **settings})
    except ValidationError as error:
        raise _wrong(error, "the settings") from error


def _wrong(error: ValidationError, where: str) -> ConfigError:
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"]) or "the file"
    return ConfigError(f"{field}: {first['msg']}", where=where, hint="Mend that setting")
