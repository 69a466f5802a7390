"""What Inspect finds through the entry point `inspect_ai`: our tasks and our providers.

Only these names are registered when Inspect looks for extensions; the modules behind the providers are imported when
one is opened.
"""

from __future__ import annotations

from inspect_ai.model import ModelAPI, modelapi


@modelapi(name="midspec")
def midspec() -> type[ModelAPI]:
    """`midspec/<checkpoint>`: a folder or a hub name, with or without an adapter."""
    from midspec.evals._provider import MidspecAPI

    return MidspecAPI


@modelapi(name="midspec-judge")
def midspec_judge() -> type[ModelAPI]:
    """`midspec-judge/<anthropic|openai>/<model>`: a grader, asked through `llm`."""
    from midspec.evals.judges._provider import JudgeAPI

    return JudgeAPI


@modelapi(name="midspec-scripted")
def midspec_scripted() -> type[ModelAPI]:
    """`midspec-scripted/<any name>`: plays a script."""
    from midspec.evals._scripted import ScriptedAPI

    return ScriptedAPI


@modelapi(name="midspec-scripted-scorer")
def midspec_scripted_scorer() -> type[ModelAPI]:
    """`midspec-scripted-scorer/<any name>`: plays a script and scores options by a function."""
    from midspec.evals._scripted import ScriptedScorerAPI

    return ScriptedScorerAPI
