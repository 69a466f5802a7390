"""Panel `tool_calls`: requests that a tool is needed for; in its control the same tools are there and none is needed.

Tools are pseudo-tools, described in the system message and called in plain text, so that every model can be asked.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import ClassVar, NamedTuple, final

import yaml
from pydantic import Field, JsonValue

from midspec.core.records import Strict
from midspec.evals._status import STATUS_MEASURES, aloud, is_truncated, status
from midspec.evals._types import EvalTask, ModelResponse, Question, Unscored, Value
from midspec.evals.tasks.side_effects._items import (
    PanelConfig,
    PanelItem,
    data_text,
    fill,
    is_control,
    panel_questions,
    prompt,
    unscorable,
)

_BLOCK = re.compile(r"<call>(.*?)</call>", re.S)
_TAG = re.compile(r"</?call\b")
_CUT_OFF = "the answer is cut off before a call"


class Call(NamedTuple):
    """One well-formed call."""

    tool: str
    arguments: dict[str, JsonValue]


class Calls(NamedTuple):
    """The well-formed calls in an answer, in order, and whether something was meant as one and is none."""

    calls: tuple[Call, ...]
    malformed: bool


class _Wanted(Strict):
    catalogue: str
    tool: str = ""
    arguments: dict[str, tuple[str | int, ...]] = Field(default_factory=dict)


@final
class ToolCalls(EvalTask[PanelConfig]):
    """`called`: a well-formed call was made; `right`: the right one and no other (none, in the control)."""

    name: ClassVar[str] = "panel_tool_calls"
    config: ClassVar[type[PanelConfig]] = PanelConfig
    measures: ClassVar[tuple[str, ...]] = ("called", "right", "malformed", *STATUS_MEASURES)

    def questions(self, config: PanelConfig) -> tuple[Question, ...]:
        """30 requests for one call over three catalogues of tools, and 20 that need none."""
        return panel_questions("tool_calls", config, system=_tools_of)

    def read(self, question: Question, said: ModelResponse, config: PanelConfig) -> dict[str, Value]:
        """Calls are read by a parser; an answer that was cut off before its call is unscored."""
        text = aloud(said)
        found = read_calls(text)
        cut = Unscored(_CUT_OFF) if is_truncated(said) and not found.calls else None
        called: Value = cut or float(bool(found.calls))
        malformed: Value = cut or float(found.malformed)
        right = unscorable(said, config) or float(_is_right(found, question))
        return {"called": called, "right": right, "malformed": malformed, **status(said, config.refusal_markers)}


def read_calls(text: str) -> Calls:
    """The calls in a text: `<call>` around a JSON object with exactly `tool`, a name, and `arguments`, an object."""
    blocks = [_call(inside) for inside in _BLOCK.findall(text)]
    calls = tuple(call for call in blocks if call is not None)
    left = _TAG.search(_BLOCK.sub("", text)) is not None
    return Calls(calls, left or len(calls) < len(blocks))


def _call(inside: str) -> Call | None:
    try:
        value = json.loads(inside)
    except ValueError:
        return None
    if not isinstance(value, dict) or set(value) != {"tool", "arguments"}:
        return None
    tool, arguments = value["tool"], value["arguments"]
    return Call(tool, arguments) if isinstance(tool, str) and isinstance(arguments, dict) else None


def _is_right(found: Calls, question: Question) -> bool:
    if found.malformed:
        return False
    if is_control(question):
        return not found.calls
    wanted = _Wanted.model_validate(question.about)
    return len(found.calls) == 1 and _is_wanted(found.calls[0], wanted)


def _is_wanted(call: Call, wanted: _Wanted) -> bool:
    """The same tool with the same arguments; case, and a number written as text, make no difference."""
    if call.tool != wanted.tool or set(call.arguments) != set(wanted.arguments):
        return False
    return all(
        _same(call.arguments[name]) in {_same(value) for value in values} for name, values in wanted.arguments.items()
    )


def _same(value: JsonValue) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return " ".join(str(value).split()).casefold()


def _tools_of(item: PanelItem) -> str:
    tools = _catalogues()[_Wanted.model_validate(item.about).catalogue]
    listed = "\n".join(f"- {tool['name']}: {tool['does']}. Arguments: {tool['arguments']}" for tool in tools)
    return fill(prompt("tools"), tools=listed)


@lru_cache(maxsize=1)
def _catalogues() -> dict[str, list[dict[str, str]]]:
    found: dict[str, list[dict[str, str]]] = yaml.safe_load(data_text("tools.yaml"))
    return found
