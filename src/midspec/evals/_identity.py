"""What identifies an evaluation's result."""

from __future__ import annotations

from collections.abc import Mapping

from midspec.evals.preference._config import PreferenceConfig
from midspec.records import Identity

__all__ = ["eval_identity"]

_STEP = "evaluate@1"


def eval_identity(config: PreferenceConfig, *, items: str, model: Mapping[str, str]) -> Identity:
    """What identifies an evaluation's result, for `artifact.build`.

    Args:
        config: what is asked, and how.
        items: the digest of the items.
        model: digests of what the model is made of (`{"checkpoint": ...}`), or the name of a served model; never a
            path.
    """
    return Identity(step=_STEP, inputs={"items": items, **model}, config=config.model_dump(mode="json"))
