from ._blocks import split_sentences as split_sentences
from ._check import Finding as Finding
from ._check import check_spec as check_spec
from ._check import fill as fill
from ._check import placeholders as placeholders
from ._parse import parse_spec as parse_spec
from ._parse import read_spec as read_spec
