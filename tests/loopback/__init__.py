"""A provider of language models on this machine: both protocols, both batch APIs, and everything that goes wrong.

`python -m tests.loopback '{"median_list_s": 0.2}'` starts it and prints its address; `serve(Settings(...))` starts it
in a thread of a test. Its replies are seeded prose in the shape that was asked for.
"""

from ._serve import Served, serve
from ._settings import Fate, Settings

__all__ = ["Fate", "Served", "Settings", "serve"]
