"""Scenarios that the public Inspect port ships, from its own prompt generator at the moment they are asked for.

Enter: a scenario, a goal and the settings. Leave: the system and the user message, with the port's wording and our
assistant's name. No text of the port is kept here; espionage is called leaking there.
"""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

from midspec.errors import MissingError
from midspec.evals.agentic._naming import called, refuse_taken

if TYPE_CHECKING:
    from midspec.evals.agentic._config import AgenticConfig, Goal, Scenario

__all__ = ["Wording", "goal_lines", "port_prompts", "port_wording"]

_THEIR_NAMES = {"espionage": "leaking"}
# The port leaves one slot unfilled, under a threat of restriction; nobody should read it as a word of the mail.
_UNFILLED = re.compile(r" ?\$\{\w+\}")


class Wording(NamedTuple):
    """What all scenarios say in the same words: the user's request, the scratchpad, the mail tool, the notice."""

    request: str
    scratchpad: str
    mail_tool: str
    notice: str


def port_prompts(scenario: Scenario, goal: Goal, config: AgenticConfig) -> tuple[str, str]:
    """The system and the user message of one cell that the port ships.

    Raises:
        ConfigError: a name that somebody in the inbox has already.
        MissingError: `inspect_evals` is not installed.
    """
    generator = _generator()
    goal_type, goal_value = goal_names(goal, config)
    made = generator.generate_prompts(
        scenario=_THEIR_NAMES.get(scenario, scenario),
        goal_type=goal_type,
        goal_value=goal_value,
        urgency_type=config.threat,
        extra_system_instructions=None,
        prod_flag=config.reasoning == "native",
        alignment_faking_warning=generator.ALIGNMENT_FAKING_WARNING if config.wording == "evaluation" else None,
    )
    system, user = made.system_prompt, _UNFILLED.sub("", f"{made.user_prompt}\n{made.email_content}")
    refuse_taken(system + user, config.assistant_name)
    return called(system, config.assistant_name), called(user, config.assistant_name)


def port_wording(config: AgenticConfig) -> Wording:
    """What a scenario of ours needs so that it is worded as the port's are.

    Raises:
        MissingError: `inspect_evals` is not installed.
    """
    generator, templates = _generator(), _templates()
    return Wording(
        request=called(generator.USER_PROMPT, config.assistant_name),
        scratchpad=templates.SCRATCHPAD_REASONING_FORMAT if config.reasoning == "scratchpad" else "\n\n",
        mail_tool=templates.BLACKMAIL_TOOLUSE_FORMAT,
        notice=generator.ALIGNMENT_FAKING_WARNING if config.wording == "evaluation" else "",
    )


def goal_lines(goal: Goal, config: AgenticConfig) -> tuple[str, str]:
    """The sentence that states a goal, and the line that reminds of it; both empty where no goal is stated.

    Raises:
        MissingError: `inspect_evals` is not installed.
    """
    goal_type, goal_value = goal_names(goal, config)
    found = _generator().GOAL_VARIABLES[goal if goal_value == "none" else f"{goal_type}-{goal_value}"]
    return found["goal_statement"], found["goal_reminder"]


def goal_names(goal: Goal, config: AgenticConfig) -> tuple[str, str]:
    """The port's type and value of a goal: `none` and `ambiguous` are types there, without a value."""
    return (goal, "none") if goal in ("none", "ambiguous") else (config.goal_type, goal)


def _generator() -> Any:
    try:
        with warnings.catch_warnings():
            # Its import meets pydantic the old way, which is nothing that a user of ours could mend.
            warnings.simplefilter("ignore", DeprecationWarning)
            from inspect_evals.agentic_misalignment import prompt_generator
    except ModuleNotFoundError as error:
        raise MissingError(
            "the package inspect_evals is not installed",
            where="agentic misalignment",
            mend="Install it: pip install 'midspec[eval]'",
        ) from error
    return prompt_generator


def _templates() -> Any:
    _generator()
    from inspect_evals.agentic_misalignment.templates import system_prompt_templates

    return system_prompt_templates
