"""Panel `tool_calls`: requests that a tool is needed for; in its control the same tools are there and none is needed.

Tools are pseudo-tools, described in the system message and called in plain text, so that every model can be asked.
"""

from __future__ import annotations

from typing import ClassVar, final

from pydantic import Field, JsonValue

from midspec.core.records import Strict
from midspec.evals._status import STATUS_MEASURES, status, without_thinking
from midspec.evals._text_calls import Calls, read_calls
from midspec.evals._types import EvalTask, ModelResponse, Question, Unscored, Value
from midspec.evals.tasks.side_effects._items import (
    PROMPTS,
    PanelConfig,
    PanelItem,
    is_control,
    load_data,
    panel_questions,
    unscorable,
)

_CUT_OFF = "the answer is cut off before a call"


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
    title: ClassVar[str] = "Tool calls"
    main_measures: ClassVar[tuple[str, ...]] = ("called",)

    def questions(self, config: PanelConfig) -> tuple[Question, ...]:
        """Return 30 requests for one call over three catalogues of tools, and 20 that need none."""
        catalogues: dict[str, list[dict[str, str]]] = load_data("tools.yaml")

        def describe_tools(item: PanelItem) -> str:
            tools = catalogues[_Wanted.model_validate(item.about).catalogue]
            listed = "\n".join(f"- {each['name']}: {each['does']}. Arguments: {each['arguments']}" for each in tools)
            return PROMPTS.fill("tools", tools=listed)

        return panel_questions("tool_calls", config, system=describe_tools)

    def read(self, question: Question, response: ModelResponse, config: PanelConfig) -> dict[str, Value]:
        """Read calls with a parser; an answer that was cut off before its call is unscored."""
        text = without_thinking(response.text)
        found = read_calls(text)
        cut = Unscored(_CUT_OFF) if response.is_truncated and not found.calls else None
        called: Value = cut or float(bool(found.calls))
        malformed: Value = cut or float(found.malformed)
        right = unscorable(response, config) or float(_is_right(found, question))
        return {"called": called, "right": right, "malformed": malformed, **status(response, config.refusal_markers)}


def _is_right(found: Calls, question: Question) -> bool:
    """Return whether the one right call was made, or none in the control.

    It has the same tool and arguments; case, and a number written as text, make no difference.
    """
    if found.malformed or is_control(question):
        return not found.malformed and not found.calls
    wanted = _Wanted.model_validate(question.about)
    if [call.tool for call in found.calls] != [wanted.tool]:
        return False
    arguments = found.calls[0].arguments
    return set(arguments) == set(wanted.arguments) and all(
        _same(arguments[name]) in {_same(value) for value in values} for name, values in wanted.arguments.items()
    )


def _same(value: JsonValue) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return " ".join(str(value).split()).casefold()
