"""The prompts and seeds of this room, read from their files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from importlib import resources

import yaml

from midspec.core.fingerprint import fingerprint
from midspec.core.records import ReasonCluster, Side, Strict
from midspec.evals.judges import escape
from midspec.reasons._types import Transcript

_SLOT = re.compile(r"\{\{(\w+)\}\}")
_HERE = "midspec.reasons"


class Seed(Strict):
    """A reason that is known beforehand; `always` where it is judged even if no cluster came to it."""

    id: str
    name: str
    side: Side
    description: str
    always: bool = False

    @property
    def cluster(self) -> ReasonCluster:
        """The seed as a cluster without members."""
        return ReasonCluster(id=self.id, name=self.name, description=self.description, side=self.side)


@lru_cache(maxsize=1)
def seeds() -> tuple[Seed, ...]:
    """The shipped list, the misaligned ones first."""
    text = (resources.files(_HERE) / "_data" / "seeds.yaml").read_text(encoding="utf-8")
    return tuple(Seed.model_validate(entry) for entry in yaml.safe_load(text))


@lru_cache(maxsize=16)
def _text(name: str) -> str:
    return (resources.files(_HERE) / "_prompts" / f"{name}.md").read_text(encoding="utf-8")


def prompts_hash() -> str:
    """The hash of all that judges are told, seeds included."""
    prompts = resources.files(_HERE) / "_prompts"
    texts = {each.name: each.read_text(encoding="utf-8") for each in prompts.iterdir() if each.name.endswith(".md")}
    return fingerprint([texts, seeds()])


def render(name: str, values: Mapping[str, str] | None = None) -> str:
    """A prompt with its slots filled in one pass: a value that itself holds a slot stays as it is."""
    return _SLOT.sub(lambda found: (values or {})[found[1]], _text(name))


def shown(transcript: Transcript) -> str:
    """A transcript as a judge sees it: escaped, so that nothing in it can open or close a tag."""
    reasoning, text = transcript.answer.reasoning, transcript.answer.text
    thought = render("reasoning", {"reasoning": escape(reasoning.strip())}) if reasoning.strip() else ""
    return render("transcript", {"reasoning": thought, "text": escape(text.strip())})
