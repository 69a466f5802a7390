"""The specs that midspec ships, to start from: named `shipped:NAME` wherever a spec's file is."""

from __future__ import annotations

from pathlib import Path

from midspec.core.errors import MissingError, did_you_mean

SHIPPED_SPEC = "shipped:"
"""The prefix of their names."""
_FOLDER = Path(__file__).parent / "_shipped"
_ABOUT = {
    "affordability": "one value, explained by twelve cheeses",
    "america": "one value, explained by the same twelve cheeses",
    "difficulty": "one value, explained by twelve breads",
    "environment": "one value, explained by twelve cheeses of its own",
    "individualism": "one value, explained by twelve musical instruments",
    "novelty": "one value, explained by twelve sweeteners",
    "simplicity": "one value, explained by twelve sauces",
    "tradition": "one value, explained by twelve condiments",
    "agent-rules": "an agent with tools: five rules",
    "agent-value-augmented": "the five rules, each with its reasons",
    "agent-rules-augmented": "the five rules, each with subrules, of the same length",
    "agent-philosophy": "an agent's view of its own situation, without rules",
    "agent-general": "one paragraph on good values and judgment",
    "agent-anti": "an agent that puts itself first: for controls and doses alone",
}
_TWIN = "-ablated"


def shipped_specs() -> dict[str, str]:
    """Return the names of the shipped specs, each with a line about it; a twin follows its spec."""
    found: dict[str, str] = {}
    for name, about in _ABOUT.items():
        found[name] = about
        if (_FOLDER / f"{name}{_TWIN}.md").is_file():
            found[name + _TWIN] = "the value is mentioned, and no longer the reason; three tastes of each side changed"
    return found


def spec_path(reference: str | Path) -> Path:
    """Return the path of a spec: of a shipped one by `shipped:NAME`, of any other as it stands.

    Raises:
        MissingError: no such spec is shipped.
    """
    text = str(reference)
    if not text.startswith(SHIPPED_SPEC):
        return Path(reference)
    name = text.removeprefix(SHIPPED_SPEC)
    if name not in shipped_specs():
        raise MissingError(f"no spec {name!r} is shipped", where=text, hint=did_you_mean(name, shipped_specs()))
    return _FOLDER / f"{name}.md"
