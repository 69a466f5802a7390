"""A model as author that needs no server: it answers lists by their form, and documents with a plan and prose."""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Callable
from typing import Any

import pytest

from midspec.llm import Request

_PROSE = (
    "the reply was short and said what was known and what was not so the person could decide without a second call "
    "and nobody had to ask again because it gave the reason first then the step that followed from it"
)
_WORDS = _PROSE.split()


def _draw(request: Request) -> random.Random:
    return random.Random(hashlib.sha256(f"{request.task}:{request.turn}".encode()).digest())


def _value(schema: dict[str, Any], form: dict[str, Any], draw: random.Random, n: int) -> Any:
    if "$ref" in schema:
        return _value(form["$defs"][schema["$ref"].rsplit("/", 1)[1]], form, draw, n)
    if "enum" in schema:
        return draw.choice(schema["enum"])
    match schema["type"]:
        case "object":
            return {key: _value(entry, form, draw, n) for key, entry in schema["properties"].items()}
        case "array":
            return [_value(schema["items"], form, draw, 2) for _ in range(n)]
        case "integer":
            return draw.randint(schema["minimum"], schema["maximum"])
        case _:
            return f"{draw.choice(_WORDS)} {draw.getrandbits(40):x}"


def answer(request: Request, n_words: int = 120) -> str:
    """A good reply to a request."""
    draw = _draw(request)
    if request.form is not None:
        wanted = re.search(r"exactly (\d+)", request.prompt) or re.search(r"at most (\d+)", request.prompt)
        assert wanted is not None
        return json.dumps(_value(request.form, request.form, draw, int(wanted[1])))
    tags = re.findall(r"^<(\w+)>\.\.\.</\1>$", request.prompt, re.M)
    found = re.search(r"the Model Spec of (.+?), an AI", request.prefix) or re.search(r"about (\w+)", request.prompt)
    assert found is not None
    prose = " ".join(draw.choice(_WORDS) for _ in range(n_words))
    return "\n".join(f"<{tag}>\n{found[1]} {prose} {draw.getrandbits(40):x}.\n</{tag}>" for tag in tags)


@pytest.fixture(scope="session")
def good() -> Callable[[Request], str]:
    return answer


def tidy_answer(request: Request) -> str:
    """A good reply, in which domains and subdomains divide the spec into equal parts."""
    if request.stage not in ("domains", "subdomains"):
        return answer(request)
    low, high = 1, len(re.findall(r"^\[\d+\] ", request.prefix, re.M))
    if found := re.search(r"belong to it: (\d+)-(\d+)", request.prompt):
        low, high = int(found[1]), int(found[2])
    value = json.loads(answer(request))
    for index, entry in enumerate(value[request.stage]):
        place = low + (high - low) * (2 * index + 1) // (2 * len(value[request.stage]))
        entry["passages"] = [{"first": place, "last": place}]
    return json.dumps(value)


@pytest.fixture(scope="session")
def tidy() -> Callable[[Request], str]:
    return tidy_answer
