from ._lint import LINT_KINDS as LINT_KINDS
from ._lint import lint_spec as lint_spec
