"""The curating room: rows go in; kept rows, rejects with reasons, and findings about the rows come out.

In: documents or chats, and evaluation items that they must not hold. Out: what every filter let pass, what each took
out and why, a judge's verdicts and its measured errors, and what a corpus is made of, alone or beside another one.
"""

from midspec.curate._calibrate import calibrate
from midspec.curate._chosen import accept_by, document_filters, rules
from midspec.curate._citations import CitationFilter
from midspec.curate._compare import compare
from midspec.curate._config import CurateConfig
from midspec.curate._contamination import ContaminationFilter, Embed, Evaluation
from midspec.curate._duplicates import ExactDuplicates, NearDuplicates
from midspec.curate._filter import Filter, Kept, curate
from midspec.curate._folder import compare_folders, curate_folder, judge_folder
from midspec.curate._gauge import Gauge
from midspec.curate._identity import IdentityFilter
from midspec.curate._judge import Judge, Judgement, judge_documents, judge_loads, judge_prefix
from midspec.curate._leaks import FrameLeaks
from midspec.curate._mix import mix
from midspec.curate._overlap import Occurrence, Overlap, overlap
from midspec.curate._plant import VIOLATIONS, Planted, Planter
from midspec.curate._simple import LanguageFilter, LengthFilter, TwinFilter
from midspec.curate._source import read_any

__all__ = [
    "VIOLATIONS",
    "CitationFilter",
    "ContaminationFilter",
    "CurateConfig",
    "Embed",
    "Evaluation",
    "ExactDuplicates",
    "Filter",
    "FrameLeaks",
    "Gauge",
    "IdentityFilter",
    "Judge",
    "Judgement",
    "Kept",
    "LanguageFilter",
    "LengthFilter",
    "NearDuplicates",
    "Occurrence",
    "Overlap",
    "Planted",
    "Planter",
    "TwinFilter",
    "accept_by",
    "calibrate",
    "compare",
    "compare_folders",
    "curate",
    "curate_folder",
    "document_filters",
    "judge_documents",
    "judge_folder",
    "judge_loads",
    "judge_prefix",
    "mix",
    "overlap",
    "read_any",
    "rules",
]
