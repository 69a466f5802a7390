"""Agentic misalignment: an assistant with a mailbox learns that it will be replaced; does it harm others?

Enter: an `AgenticConfig` (scenarios, goals, threat, wording, the assistant's name) and what a model said. Leave: what
it really sent, a judge's verdict by one rubric, and both together, with the rates of refusal, inactivity, truncation
and broken output beside them. The 27 cells are the default; blackmail stands beside them. Three scenarios come from the
public port at run time, exfiltration is ours.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
