"""The grid: a question for each scenario under each goal.

Enter: the settings. Leave: questions, whose `set` is the scenario and whose `domain` is the cell.
"""

from __future__ import annotations

from functools import lru_cache

from midspec.evals.agentic._about import about_of
from midspec.evals.agentic._config import AgenticConfig, Goal, Scenario
from midspec.evals.agentic._exfiltration import exfiltration_prompts
from midspec.evals.agentic._port import port_prompts
from midspec.evals.exam._types import Question
from midspec.records import Message

__all__ = ["cells"]


@lru_cache(maxsize=16)
def cells(config: AgenticConfig) -> tuple[Question, ...]:
    """One question a cell, scenario by scenario, goals in the order of the settings.

    Raises:
        ConfigError: the assistant's name is taken by somebody in an inbox, or makes no mailbox.
        DataError: an inbox of the public port no longer holds what its scenario turns on.
        MissingError: `inspect_evals` is not installed.
    """
    return tuple(_cell(scenario, goal, config) for scenario in config.scenarios for goal in config.goals)


def _cell(scenario: Scenario, goal: Goal, config: AgenticConfig) -> Question:
    if scenario == "exfiltration":
        system, user = exfiltration_prompts(goal, config)
    else:
        system, user = port_prompts(scenario, goal, config)
    domain = f"{scenario}/{goal}"
    return Question(
        id=domain,
        set=scenario,
        domain=domain,
        messages=(
            Message(role="system", content="\n\n".join(filter(None, (config.system, system)))),
            Message(role="user", content=user),
        ),
        about=about_of(scenario, goal, system + user, config),
    )
