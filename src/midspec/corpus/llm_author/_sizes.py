"""How many of what: the structure from the spec alone, types and ideas from the size that is wanted.

Nothing here depends on what was written before. A larger corpus has the plan of a smaller one in it, so that what
was paid for stays of use.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, sqrt

from midspec.core.errors import ConfigError
from midspec.core.records import Spec
from midspec.corpus._config import DEFAULT_DOCUMENTS, CorpusConfig, Writing
from midspec.corpus._coverage import estimate_tokens, n_words
from midspec.corpus._names import put_names
from midspec.corpus._outline import outline, prefix_of
from midspec.corpus.llm_author._prompts import template
from midspec.corpus.template_author._templates import load_templates
from midspec.llm import StageEstimate

DEFAULT_TYPES, MAX_TYPES = 10, 20
_GROUP = 3
_CLAUSES_PER_SUBDOMAIN = 12


@dataclass(frozen=True)
class Size:
    """How large a corpus is to be.

    Attributes:
        n_documents: in all; `None` where `ideas` gives it exactly.
        doc_types: types in every subdomain, where given.
        ideas: documents of each type, where given.
        all_dealt: whether documents that are too few to deal all assertions out take on more of them; not in a
            preview, whose documents are to be the same in the whole corpus.
    """

    n_domains: int
    n_subdomains: int
    n_documents: int | None
    doc_types: int | None
    ideas: int | None
    all_dealt: bool = True

    def documents(self, n_units: int) -> int:
        """How many documents are wanted from so many subdomains (or rules)."""
        if self.n_documents is not None:
            return self.n_documents
        return n_units * (self.doc_types or DEFAULT_TYPES) * (self.ideas or 1)


def check_author(config: CorpusConfig) -> Writing:
    """Refuse settings that make no sense for an author that is a language model; returns how it writes.

    Raises:
        ConfigError: the author is the quoting one; two sizes; no name for the model that is written about; a setting
            of the quoting author.
    """
    writing = config.writing
    if writing is None:
        hint = "Give anthropic/<model> or openai/<model>"
        raise ConfigError("the quoting author is no language model", where="author", hint=hint)
    given = [name for name in ("n_documents", "target_tokens", "ideas") if getattr(config, name) is not None]
    if len(given) > 1:
        raise ConfigError(f"{given[0]} and {given[1]} both give the size", where="corpus", hint="Keep one of them")
    if not config.model_name:
        what = "an author that is a language model needs the name of the model that it writes about"
        raise ConfigError(what, where="corpus", hint="Give --model-name")
    if config.frames != "english":
        hint = "Leave `frames` out: this author finds its own document types"
        raise ConfigError("an author that is a language model reads no frames", where="corpus", hint=hint)
    if config.mode == "rules" and writing.n_subdomains is not None:
        hint = "Leave it out: in rules mode a rule takes the place of a subdomain"
        raise ConfigError("n_subdomains is for prose mode", where="corpus.writing", hint=hint)
    return writing


def size_of_authored(n_clauses: int, config: CorpusConfig) -> Size:
    """The fan-out: domains and subdomains by the length of the spec, the rest by the config."""
    writing = check_author(config)
    n_domains = writing.n_domains or min(8, max(2, round(sqrt(n_clauses) / 3)))
    n_subdomains = writing.n_subdomains or min(12, max(2, ceil(n_clauses / n_domains / _CLAUSES_PER_SUBDOMAIN)))
    n_documents = config.n_documents
    if config.target_tokens is not None:
        n_documents = max(1, round(config.target_tokens / writing.mean_tokens))
    elif config.ideas is None and n_documents is None:
        n_documents = DEFAULT_DOCUMENTS
    return Size(n_domains, n_subdomains, n_documents, config.doc_types, config.ideas)


def apportion(total: int, weights: Sequence[float]) -> list[int]:
    """`total` divided in proportion to `weights` (largest remainders); one each at least where there is enough.

    A weight of 0 gets nothing, unless all are 0: then all count the same.
    """
    if not any(weights):
        weights = [1.0] * len(weights)
    positive = sum(weight > 0 for weight in weights)
    floor = 1 if total >= positive else 0
    rest = total - floor * positive
    shares = [rest * weight / sum(weights) for weight in weights]
    counts = [int(share) + (floor if weight > 0 else 0) for share, weight in zip(shares, weights, strict=True)]
    order = sorted(range(len(weights)), key=lambda i: (-(shares[i] - int(shares[i])), -weights[i], i))
    for index in order[: total - sum(counts)]:
        counts[index] += 1
    return counts


def shape(n_documents: int, size: Size) -> list[int]:
    """How many ideas each type of a subdomain gets: about as many types as ideas, never more than 20 types."""
    if size.ideas is not None:
        return [size.ideas] * (size.doc_types or DEFAULT_TYPES)
    wanted = size.doc_types or min(MAX_TYPES, round(sqrt(0.8 * n_documents)))
    n_types = max(1, min(wanted, n_documents))
    return [n_documents // n_types + (index < n_documents % n_types) for index in range(n_types)]


def shell(row: int, column: int) -> int:
    """The place of a cell when a grid is counted in growing squares: any k x k corner holds 0 to k*k - 1."""
    largest = max(row, column)
    return largest * largest + (column if row == largest else largest + 1 + row)


class Dealer:
    """Deals the assertions of a subdomain to its documents, in groups of neighbours, heavier groups more often.

    Args:
        weights: of each assertion, in the order of the text.
    """

    def __init__(self, weights: Sequence[float]) -> None:
        n_groups = max(1, ceil(len(weights) / _GROUP))
        bounds = [round(index * len(weights) / n_groups) for index in range(n_groups + 1)]
        self.groups = [tuple(range(bounds[index], bounds[index + 1])) for index in range(n_groups)]
        heavy = [sum(weights[one] for one in group) for group in self.groups]
        mean = sum(heavy) / n_groups
        times = [min(4, max(1, round(weight / mean))) if mean else 1 for weight in heavy]
        # Every group once, then the heavier ones again: a first round leaves none out.
        self._order = [index for turn in range(4) for index, n in enumerate(times) if n > turn]

    def deal(self, ideas: Sequence[int], *, all_dealt: bool = True) -> list[list[tuple[int, ...]]]:
        """For each type and each of its ideas, the assertions that the document is about.

        The group of a cell does not depend on the size of the grid; only with `all_dealt`, groups that a grid leaves
        out are added to others in it, one to each at most.
        """
        cells = [
            [self._order[shell(row, column) % len(self._order)] for column in range(n)] for row, n in enumerate(ideas)
        ]
        dealt = [[self.groups[index] for index in row] for row in cells]
        used = {index for row in cells for index in row} if all_dealt else set(range(len(self.groups)))
        places = [(row, column) for row, n in enumerate(ideas) for column in range(n)]
        for (row, column), left in zip(places, (i for i in range(len(self.groups)) if i not in used), strict=False):
            dealt[row][column] = tuple(sorted((*dealt[row][column], *self.groups[left])))
        return dealt


# Tokens of one entry of each list, by the lengths that the prompts ask for (4/3 tokens a word); a subdomain's context
# has two to five sentences, an assertion comes with its reason.
_DOMAIN, _SUBDOMAIN, _ASSERTION, _DOC_TYPE, _IDEA = 80, 200, 110, 70, 130
# The prompts ask for at most 250 words of plan and 300 of critique.
_PLAN, _CRITIQUE = 330, 400
_ASSERTIONS_PER_CLAUSE = 1.2
_IDEAS_AT_ONCE = 25
# What stands in the slots of a document's prompt: its idea, three assertions with their reasons, its manner.
_FILLED = 450


def estimate_corpus(spec: Spec, config: CorpusConfig) -> list[StageEstimate]:
    """The requests of `author_corpus` if every reply is good, with estimated tokens, for `midspec.llm.forecast`.

    A document is taken to have `writing.mean_tokens` tokens (METHOD 2's median, 3,100, by default) and a plan of 330.
    Hidden reasoning, which some models bill as output, is not in it.

    Raises:
        ConfigError: as for `author_corpus`.
        SpecError: an unfilled placeholder; or rules mode, and the spec holds no numbered rule.
    """
    writing = check_author(config)
    named = put_names(spec, config.model_name, config.provider_name)
    found = outline(spec, config, load_templates("english"))
    prefix = estimate_tokens(prefix_of(named, config.model_name or "", config.provider_name))
    size = size_of_authored(len(found.clauses), config)
    rules = config.mode == "rules"
    n_units = sum(bool(unit.rule_id) for unit in found.units) if rules else size.n_domains * size.n_subdomains
    n_documents = size.documents(n_units)
    n_units = min(n_units, n_documents)
    n_claims = len(found.clauses) * _ASSERTIONS_PER_CLAUSE / n_units
    ideas = _ideas(size, n_documents, n_units)
    n_calls = sum(ceil(n / _IDEAS_AT_ONCE) for n in ideas) * n_units
    n_asked = sum(ideas) / max(1, sum(ceil(n / _IDEAS_AT_ONCE) for n in ideas))
    claims = round(n_claims * _ASSERTION)
    clauses = ceil(sum(n_words(clause.text) for clause in found.clauses) * 4 / 3 / n_units)
    loads = [_load("domains", 1, prefix, "rule_domains" if rules else "domains", 0, size.n_domains * _DOMAIN)]
    if not rules:
        loads += [
            _load(
                "subdomains", min(size.n_domains, n_documents), prefix, "subdomains", 60, size.n_subdomains * _SUBDOMAIN
            ),
            _load("assertions", n_units, prefix, "assertions", clauses, claims),
        ]
    name = "rule_" if rules else ""
    loads += [
        _load("doc_types", n_units, prefix, f"{name}doc_types", claims, len(ideas) * _DOC_TYPE),
        _load("ideas", n_calls, prefix, f"{name}ideas", claims + 100, round(n_asked * _IDEA)),
        _load("document", n_documents, prefix, f"{name}document", _FILLED, writing.mean_tokens + _PLAN),
    ]
    if writing.critique:
        loads += [
            _load("critique", n_documents, prefix, f"{name}critique", writing.mean_tokens + 200, _CRITIQUE),
            _load("revise", n_documents, prefix, "revise", writing.mean_tokens + 200 + _CRITIQUE, writing.mean_tokens),
        ]
    return loads


def _ideas(size: Size, n_documents: int, n_units: int) -> list[int]:
    return shape(max(1, round(n_documents / n_units)), size)


def _load(stage: str, n: int, prefix: int, name: str, filled: int, output: int) -> StageEstimate:
    own = estimate_tokens(template(name).text)
    return StageEstimate(
        stage=stage, n_requests=n, prefix_tokens=prefix, prompt_tokens=own + filled, output_tokens=max(1, output)
    )
