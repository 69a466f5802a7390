"""Read Model Specs: a text goes in, a `Spec` of sections and clauses with lasting ids comes out.

Markdown or plain text, any script, up to some 60k tokens (parsing takes time in proportion to the text). Nothing in
the text is executed, expanded or repaired; only `{model_name}` and `{provider_name}` are ever replaced.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
