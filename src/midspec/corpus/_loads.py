"""What a corpus by a language model will ask, by stage, before anything is asked."""

from __future__ import annotations

from math import ceil

from midspec.corpus._config import CorpusConfig
from midspec.corpus._format import load_frames
from midspec.corpus._measure import estimate_tokens, n_words
from midspec.corpus._names import put_names
from midspec.corpus._numbered import prefix_of
from midspec.corpus._outline import outline
from midspec.corpus._shares import Size, check_author, shape, size_of_authored
from midspec.corpus._templates import template
from midspec.llm import StageLoad
from midspec.records import Spec

__all__ = ["corpus_loads"]

# Tokens of one entry of each list, by the lengths that the prompts ask for (4/3 tokens a word); a subdomain's context
# has two to five sentences, an assertion comes with its reason.
_DOMAIN, _SUBDOMAIN, _ASSERTION, _DOC_TYPE, _IDEA = 80, 200, 110, 70, 130
# The prompts ask for at most 250 words of plan and 300 of critique.
_PLAN, _CRITIQUE = 330, 400
_ASSERTIONS_PER_CLAUSE = 1.2
_IDEAS_AT_ONCE = 25
# What stands in the slots of a document's prompt: its idea, three assertions with their reasons, its manner.
_FILLED = 450


def corpus_loads(spec: Spec, config: CorpusConfig) -> list[StageLoad]:
    """The requests of `author_corpus` if every reply is good, with estimated tokens, for `midspec.llm.forecast`.

    A document is taken to have `writing.mean_tokens` tokens (METHOD 2's median, 3,100, by default) and a plan of 330.
    Hidden reasoning, which some models bill as output, is not in it.

    Raises:
        ConfigError: as for `author_corpus`.
        SpecError: an unfilled placeholder; or rules mode, and the spec holds no numbered rule.
    """
    writing = check_author(config)
    named = put_names(spec, config.model_name, config.provider_name)
    found = outline(spec, config, load_frames("english"))
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


def _load(stage: str, n: int, prefix: int, name: str, filled: int, output: int) -> StageLoad:
    own = estimate_tokens(template(name).text)
    return StageLoad(
        stage=stage, n_requests=n, prefix_tokens=prefix, prompt_tokens=own + filled, output_tokens=max(1, output)
    )
