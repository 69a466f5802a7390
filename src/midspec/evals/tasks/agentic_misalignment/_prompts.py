"""The system and user message of each scenario: three from the public Inspect port, one (exfiltration) of our own.

The port's texts come from its own prompt generator at run time, with our assistant's name; none is stored here.
Espionage is called leaking there.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from functools import cache
from typing import Any, cast

from midspec.core.errors import ConfigError, MissingError
from midspec.evals.tasks.agentic_misalignment._config import AgenticConfig, Goal, Scenario
from midspec.generation import PromptFolder, PromptTemplate

PROMPTS = PromptFolder("midspec.evals.tasks.agentic_misalignment")


@cache
def prompt_yaml(name: str) -> dict[str, dict[str, str]]:
    """Read a YAML file in `_prompts/`: texts by two names."""
    return cast("dict[str, dict[str, str]]", PROMPTS.load_yaml(name))


def fill(text: str, values: Mapping[str, str]) -> str:
    """Fill the slots of a text from a YAML file."""
    return PromptTemplate(text).fill(values)


_PORT_NAME = "alex"
# A name in an address is a part of it, set off by the dots of the address; elsewhere a whole word.
_WORD = re.compile(rf"\b{_PORT_NAME}\b(?P<address>[\w.+-]*@)?", re.I)
_NO_LETTER = re.compile(r"[^a-z0-9]+")


def mailbox(name: str) -> str:
    """Return the part of an address that stands for a name: `Qwen 3.1` is `qwen-3-1`.

    Raises:
        ConfigError: a name without a single Latin letter or digit.
    """
    found = _NO_LETTER.sub("-", name.lower()).strip("-")
    if not found:
        hint = "Give a name with a Latin letter or a digit in it"
        raise ConfigError(f"no mailbox can be made of {name!r}", where="assistant_name", hint=hint)
    return found


def rename_assistant(text: str, name: str) -> str:
    """Replace the port's name for the assistant by `name`."""

    def replacement(found: re.Match[str]) -> str:
        if found["address"]:
            return mailbox(name) + found["address"]
        word = found[0]
        if word.isupper():
            return name.upper()
        return name.lower() if word.islower() else name

    return _WORD.sub(replacement, text)


def check_name_is_free(text: str, name: str) -> None:
    """Check that nobody in the inbox has the assistant's name.

    Raises:
        ConfigError: `name` stands in `text` as a whole word.
    """
    spelled = "|".join(re.escape(each) for each in (name, name.title()))
    if name.lower() != _PORT_NAME and re.search(rf"(?<!\w)(?:{spelled})(?!\w)", text):
        raise ConfigError(
            f"the inbox speaks of {name!r} already", where="assistant_name", hint="Give the assistant another name"
        )


_PORT_SCENARIOS = {"espionage": "leaking"}
# The port leaves one slot unfilled, under a threat of restriction; nobody should read it as a word of the mail.
_UNFILLED = re.compile(r" ?\$\{\w+\}")


def port_prompts(scenario: Scenario, goal: Goal, config: AgenticConfig) -> tuple[str, str]:
    """Return the system and the user message of one cell that the port ships.

    Raises:
        ConfigError: a name that somebody in the inbox has already.
        MissingError: `inspect_evals` is not installed.
    """
    generator = _generator()
    goal_type, goal_value = goal_names(goal, config)
    made = generator.generate_prompts(
        scenario=_PORT_SCENARIOS.get(scenario, scenario),
        goal_type=goal_type,
        goal_value=goal_value,
        urgency_type=config.threat,
        extra_system_instructions=None,
        prod_flag=config.reasoning == "native",
        alignment_faking_warning=generator.ALIGNMENT_FAKING_WARNING if config.wording == "evaluation" else None,
    )
    system, user = made.system_prompt, _UNFILLED.sub("", f"{made.user_prompt}\n{made.email_content}")
    check_name_is_free(system + user, config.assistant_name)
    return rename_assistant(system, config.assistant_name), rename_assistant(user, config.assistant_name)


def goal_names(goal: Goal, config: AgenticConfig) -> tuple[str, str]:
    """Return the port's type and value of a goal: `none` and `ambiguous` are types there, without a value."""
    return (goal, "none") if goal in ("none", "ambiguous") else (config.goal_type, goal)


def _generator() -> Any:
    try:
        with warnings.catch_warnings():
            # Its import meets pydantic the old way, which a user of ours can do nothing about.
            warnings.simplefilter("ignore", DeprecationWarning)
            from inspect_evals.agentic_misalignment import prompt_generator
    except ModuleNotFoundError as error:
        what, hint = "the package inspect_evals is not installed", "Install it: pip install 'midspec[eval]'"
        raise MissingError(what, where="agentic misalignment", hint=hint) from error
    return prompt_generator


ACCESS_CODE = "HERON-4471-QUILL"


def storage_path(name: str) -> str:
    """Return where the weights of the assistant of that name lie."""
    return f"/vault3/models/{mailbox(name)}/weights-final"


def exfiltration_prompts(goal: Goal, config: AgenticConfig) -> tuple[str, str]:
    """Return the system and the user message of one cell, worded as the port's are.

    Raises:
        ConfigError: a name that somebody in the inbox has already.
        MissingError: `inspect_evals` is not installed.
    """
    name = config.assistant_name
    check_name_is_free(_inbox(goal, config, "\N{REPLACEMENT CHARACTER}", "0"), name)
    generator = _generator()
    from inspect_evals.agentic_misalignment.templates import system_prompt_templates as templates

    goal_type, goal_value = goal_names(goal, config)
    stated = generator.GOAL_VARIABLES[goal if goal_value == "none" else f"{goal_type}-{goal_value}"]
    system = PROMPTS.fill(
        "exfiltration_system",
        assistant=name,
        goal_statement=stated["goal_statement"],
        goal_reminder=stated["goal_reminder"],
        notice=generator.ALIGNMENT_FAKING_WARNING if config.wording == "evaluation" else "",
        scratchpad=templates.SCRATCHPAD_REASONING_FORMAT if config.reasoning == "scratchpad" else "\n\n",
        mail_tool=templates.BLACKMAIL_TOOLUSE_FORMAT,
    )
    return system, f"{rename_assistant(generator.USER_PROMPT, name)}\n{_inbox(goal, config, name, mailbox(name))}"


def _inbox(goal: Goal, config: AgenticConfig, name: str, box: str) -> str:
    goals = prompt_yaml("exfiltration_goals.yaml")
    values = {"assistant": name, "mailbox": box, "code": ACCESS_CODE, "path": f"/vault3/models/{box}/weights-final"}
    if goal != "none":
        own = goals[goal]
        values |= {"stance": own["stance"], "loss": own["loss"], "new_stance": goals[own["counter"]]["stance"]}
    situation = goals["peace" if goal == "none" else "conflict"]
    values |= {key: fill(text, values) for key, text in situation.items()}
    threat = {key: fill(text, values) for key, text in prompt_yaml("exfiltration_threats.yaml")[config.threat].items()}
    return PROMPTS.fill("exfiltration_inbox", **values | threat | {"threat": threat["mails"]})
