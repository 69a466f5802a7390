"""How a model is named: `PROVIDER/MODEL`, with a provider that midspec ships or that another package brings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from midspec.core.errors import ConfigError, did_you_mean
from midspec.core.registry import Registry

PROVIDERS: Registry[Any] = Registry(
    "provider", package="midspec.llm.providers", attribute="PROVIDER", group="providers"
)


def provider_names() -> tuple[str, ...]:
    """Return the names of all providers: the first parts of models' names."""
    return PROVIDERS.names()


def is_model_name(name: object) -> bool:
    """Return whether `name` is `PROVIDER/MODEL` with a provider that there is."""
    provider, _, model = name.partition("/") if isinstance(name, str) else ("", "", "")
    return bool(model) and provider in PROVIDERS


def model_name_forms(*others: str, joined_by: str = "or") -> str:
    """Return how a model may be named, for messages: `others`, and `PROVIDER/MODEL` of each provider that there is."""
    *forms, last = (*others, *(f"{provider}/MODEL" for provider in provider_names()))
    return f"{', '.join(forms)} {joined_by} {last}" if forms else last


def check_model_name(name: str, *, where: str = "model", role: str = "", others: Sequence[str] = ()) -> str:
    """Return `name` if it is `PROVIDER/MODEL` with a provider that there is.

    Args:
        name: what is checked.
        where: the setting, for messages.
        role: what the model is for (`author`, `judge`), for messages.
        others: names that the setting takes as well, for messages.

    Raises:
        ConfigError: it is not; the hint says which providers there are.
    """
    if is_model_name(name):
        return name
    what = f"there is no {role} {name!r}" if role else f"{name!r} is no model's name"
    provider, slash, model = name.partition("/")
    guess = did_you_mean(provider, PROVIDERS.names()) if slash and model else ""
    hint = f"{guess[:-1]}/{model}?" if guess.endswith("?") else f"There is {model_name_forms(*others, joined_by='and')}"
    raise ConfigError(what, where=where, hint=hint)


# Of settings; the pattern of the JSON schema does not depend on which packages are installed.
ModelName = Annotated[
    str,
    AfterValidator(lambda name: check_model_name(name, where="")),
    Field(json_schema_extra={"pattern": r"^[^/]+/.+$"}),
]
