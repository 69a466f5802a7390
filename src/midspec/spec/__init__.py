"""The spec room: in goes the text of a Model Spec, out comes a `Spec` of sections and clauses with lasting ids.

Markdown or plain text, any script, up to some 60k tokens (parsing takes time in proportion to the text). Nothing in
the text is executed, expanded or repaired; only `{model_name}` and `{provider_name}` are ever replaced.
"""

from __future__ import annotations

from midspec.spec._check import Finding, check_spec
from midspec.spec._parse import parse_spec
from midspec.spec._placeholders import fill, placeholders
from midspec.spec._read import read_spec
from midspec.spec._sentences import split_sentences

__all__ = ["Finding", "check_spec", "fill", "parse_spec", "placeholders", "read_spec", "split_sentences"]
