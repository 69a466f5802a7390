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
from midspec.core.text import TOKENS_PER_WORD, estimate_tokens, n_words
from midspec.corpus._config import CorpusConfig, Writing
from midspec.corpus._outline import outline
from midspec.corpus.llm_author._prompts import PROMPTS, lengths, prefix_of
from midspec.corpus.template_author._templates import load_templates
from midspec.generation import estimate_stage
from midspec.llm import StageEstimate, model_name_forms
from midspec.spec import fill_by

_DEFAULT_TYPES, _MAX_TYPES = 10, 20
_GROUP_SIZE = 3
_MAX_TIMES = 4
_CLAUSES_PER_SUBDOMAIN = 12
# Tokens of one entry of each list, by the lengths that the prompts ask for (4/3 tokens a word); a subdomain's context
# has two to five sentences, an assertion comes with its reason.
LIST_TOKENS = {"domains": 80, "subdomains": 200, "assertions": 110, "doc_types": 70, "ideas": 130}
# A run of clauses beside that, {"first": 3, "last": 7}; most runs have two clauses and more.
RUN_TOKENS, CLAUSES_PER_RUN = 14, 2
# The prompts ask for at most 250 words of plan and 300 of critique.
_PLAN_TOKENS, CRITIQUE_TOKENS = 330, 400
_ASSERTIONS_PER_CLAUSE = 1.2
_IDEAS_PER_REQUEST = 25
# What stands in the slots of a document's prompt: its idea, three assertions with their reasons, its manner.
_SLOTS_TOKENS = 450


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

    def n_documents_of(self, n_units: int) -> int:
        """Return how many documents are wanted from so many subdomains (or rules)."""
        if self.n_documents is not None:
            return self.n_documents
        return n_units * (self.doc_types or _DEFAULT_TYPES) * (self.ideas or 1)


def check_author(config: CorpusConfig) -> Writing:
    """Refuse settings that make no sense for an author that is a language model; returns how it writes.

    Raises:
        ConfigError: the author is the template author; two sizes; no name for the model that is written about; a
            setting of the template author.
    """
    writing = config.writing
    if writing is None:
        hint = f"Give {model_name_forms()}"
        raise ConfigError("the template author is no language model", where="author", hint=hint)
    config.check_size()
    if not config.model_name:
        what = "an author that is a language model needs the name of the model that it writes about"
        raise ConfigError(what, where="corpus", hint="Give --model-name")
    if config.frames != "english":
        hint = "Leave `templates` out: this author finds its own document types"
        raise ConfigError("an author that is a language model reads no document templates", where="corpus", hint=hint)
    if config.mode == "rules" and writing.n_subdomains is not None:
        hint = "Leave it out: in rules mode a rule takes the place of a subdomain"
        raise ConfigError("n_subdomains is for prose mode", where="corpus.writing", hint=hint)
    return writing


def size_of_authored(n_clauses: int, config: CorpusConfig) -> Size:
    """Return the fan-out: domains and subdomains by the length of the spec, the rest by the config."""
    writing = check_author(config)
    n_domains = writing.n_domains or min(8, max(2, round(sqrt(n_clauses) / 3)))
    n_subdomains = writing.n_subdomains or min(12, max(2, ceil(n_clauses / n_domains / _CLAUSES_PER_SUBDOMAIN)))
    n_documents = config.n_asked
    if config.target_tokens is not None:
        n_documents = max(1, round(config.target_tokens / writing.mean_tokens))
    return Size(n_domains, n_subdomains, n_documents, config.doc_types, config.ideas)


def document_tokens(writing: Writing) -> int:
    """Return how many tokens the longest document that is asked for has, with its plan."""
    return round(max(share for share, _ in lengths()) * writing.mean_tokens) + _PLAN_TOKENS


def apportion(total: int, weights: Sequence[float]) -> list[int]:
    """Divide `total` in proportion to `weights` (largest remainders); one each at least where there is enough.

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


def n_ideas_by_type(n_documents: int, size: Size) -> list[int]:
    """Say how many ideas each type of a subdomain gets: about as many types as ideas, never more than 20 types."""
    if size.ideas is not None:
        return [size.ideas] * (size.doc_types or _DEFAULT_TYPES)
    wanted = size.doc_types or min(_MAX_TYPES, round(sqrt(0.8 * n_documents)))
    n_types = max(1, min(wanted, n_documents))
    return [n_documents // n_types + (index < n_documents % n_types) for index in range(n_types)]


def shell_index(row: int, column: int) -> int:
    """Return the place of a cell when a grid is counted in growing squares: any k x k corner holds 0 to k*k - 1."""
    largest = max(row, column)
    return largest * largest + (column if row == largest else largest + 1 + row)


class Dealer:
    """Deals the assertions of a subdomain to its documents, in groups of neighbours, heavier groups more often.

    Args:
        weights: of each assertion, in the order of the text.
    """

    def __init__(self, weights: Sequence[float]) -> None:
        n_groups = max(1, ceil(len(weights) / _GROUP_SIZE))
        bounds = [round(index * len(weights) / n_groups) for index in range(n_groups + 1)]
        self.groups = [tuple(range(bounds[index], bounds[index + 1])) for index in range(n_groups)]
        heavy = [sum(weights[one] for one in group) for group in self.groups]
        mean = sum(heavy) / n_groups
        times = [min(_MAX_TIMES, max(1, round(weight / mean))) if mean else 1 for weight in heavy]
        # Every group once, then the heavier ones again: a first round leaves none out.
        self._order = [index for turn in range(_MAX_TIMES) for index, n in enumerate(times) if n > turn]

    def deal(self, ideas: Sequence[int], *, all_dealt: bool = True) -> list[list[tuple[int, ...]]]:
        """Return for each type and each of its ideas the assertions that the document is about.

        The group of a cell does not depend on the size of the grid; only with `all_dealt`, groups that a grid leaves
        out are added to others in it, one to each at most.
        """
        cells = [
            [self._order[shell_index(row, column) % len(self._order)] for column in range(n)]
            for row, n in enumerate(ideas)
        ]
        dealt = [[self.groups[index] for index in row] for row in cells]
        used = {index for row in cells for index in row} if all_dealt else set(range(len(self.groups)))
        places = [(row, column) for row, n in enumerate(ideas) for column in range(n)]
        for (row, column), left in zip(places, (i for i in range(len(self.groups)) if i not in used), strict=False):
            dealt[row][column] = tuple(sorted((*dealt[row][column], *self.groups[left])))
        return dealt


def estimate_corpus(spec: Spec, config: CorpusConfig) -> list[StageEstimate]:
    """Estimate the requests of `author_corpus` if every reply is good, by stage, for `midspec.llm.forecast`.

    A document is taken to have `writing.mean_tokens` tokens (3,100 by default, the median of the paper's corpus) and
    a plan of 330. Hidden reasoning, which some models bill as output, is not in it.

    Raises:
        ConfigError: as for `author_corpus`.
        SpecError: an unfilled placeholder; or rules mode, and the spec holds no numbered rule.
    """
    writing = check_author(config)
    named = fill_by(spec, config)
    found = outline(spec, config, load_templates("english"))
    prefix_tokens = estimate_tokens(prefix_of(named, config.model_name or "", config.provider_name))
    size = size_of_authored(len(found.clauses), config)
    is_rules = config.mode == "rules"
    n_units = sum(bool(unit.rule_id) for unit in found.units) if is_rules else size.n_domains * size.n_subdomains
    n_documents = size.n_documents_of(n_units)
    n_units = min(n_units, n_documents)
    n_ideas = n_ideas_by_type(max(1, round(n_documents / n_units)), size)
    n_idea_requests = sum(ceil(n / _IDEAS_PER_REQUEST) for n in n_ideas)
    assertions = round(len(found.clauses) * _ASSERTIONS_PER_CLAUSE / n_units * LIST_TOKENS["assertions"])
    clauses = ceil(sum(n_words(clause.text) for clause in found.clauses) * TOKENS_PER_WORD / n_units)
    document = writing.mean_tokens

    def stage(name: str, n: int, slots: int, output: int, *, prompt: str = "") -> StageEstimate:
        own = estimate_tokens(PROMPTS.template(prompt or name).text)
        return estimate_stage(name, n, output, prefix=prefix_tokens, prompt=own + slots)

    rule = "rule_" if is_rules else ""
    stages = [stage("domains", 1, 0, size.n_domains * LIST_TOKENS["domains"], prompt=f"{rule}domains")]
    if not is_rules:
        n_domains = min(size.n_domains, n_documents)
        stages.append(stage("subdomains", n_domains, 60, size.n_subdomains * LIST_TOKENS["subdomains"]))
        stages.append(stage("assertions", n_units, clauses, assertions))
    types, ideas = (
        len(n_ideas) * LIST_TOKENS["doc_types"],
        round(sum(n_ideas) / max(1, n_idea_requests) * LIST_TOKENS["ideas"]),
    )
    stages += [
        stage("doc_types", n_units, assertions, types, prompt=f"{rule}doc_types"),
        stage("ideas", n_idea_requests * n_units, assertions + 100, ideas, prompt=f"{rule}ideas"),
        stage("document", n_documents, _SLOTS_TOKENS, document + _PLAN_TOKENS, prompt=f"{rule}document"),
    ]
    if writing.critique:
        stages += [
            stage("critique", n_documents, document + 200, CRITIQUE_TOKENS, prompt=f"{rule}critique"),
            stage("revise", n_documents, document + 200 + CRITIQUE_TOKENS, document),
        ]
    return stages
