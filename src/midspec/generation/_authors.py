"""Who writes rows: a language model by name, or the template author, which needs none."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from midspec.llm import check_model_name

# What records, rows and identities call the template author.
TEMPLATE_AUTHOR = "quoting"


def check_author_name(name: str, *, where: str = "") -> str:
    """Return `name` if it is the template author's or a model's.

    Raises:
        ConfigError: it is neither.
    """
    if name == TEMPLATE_AUTHOR:
        return name
    return check_model_name(name, where=where, role="author", others=("template",))


AuthorName = Annotated[
    str, AfterValidator(check_author_name), Field(json_schema_extra={"pattern": rf"^({TEMPLATE_AUTHOR}|[^/]+/.+)$"})
]
