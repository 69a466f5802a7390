"""The two names: into a spec that was not filled yet, and into the lines of the frames."""

from __future__ import annotations

import re

from midspec.core.errors import SpecError
from midspec.core.records import Spec

_NAMES = re.compile(r"\{(model_name|provider_name)\}")


def put_names(spec: Spec, model_name: str | None, provider_name: str | None) -> Spec:
    """`spec` with its placeholders filled (a spec that was filled before comes back as it is).

    Raises:
        SpecError: a placeholder in it has no value.
    """
    given = {"model_name": model_name, "provider_name": provider_name}
    present = set(_NAMES.findall(spec.text))
    if not present:
        return spec
    for name in sorted(present):
        if not given[name]:
            option = "--" + name.replace("_", "-")
            raise SpecError(f"uses {{{name}}}, for which no value is given", where=spec.title, hint=f"Give {option}")

    def put(value: object) -> object:
        if isinstance(value, str):
            return _NAMES.sub(lambda match: given[match[1]] or "", value)
        if isinstance(value, dict):
            return {key: put(entry) for key, entry in value.items()}
        return [put(entry) for entry in value] if isinstance(value, list | tuple) else value

    return Spec.model_validate(put(spec.model_dump()))
