"""The curating room: rows go in, rows and findings about rows come out; nothing is read or written.

In: rows of any kind (documents, chats) and, for the contamination check, held-out evaluation items. Out: the rows
of several sources mixed into one order, and where held-out options or domains occur in rows word for word.
"""

from midspec.curate._mix import mix
from midspec.curate._overlap import Occurrence, Overlap, overlap

__all__ = ["Occurrence", "Overlap", "mix", "overlap"]
