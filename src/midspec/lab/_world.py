"""One world drawn from a seed: which things exist, which agents, and who values what."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import NamedTuple

from midspec.core.records import Item, Strict
from midspec.lab._language import CHEESES, DOMAINS, VALUES, Thing, Value, fixed_words

_ONSETS = (*"bdfgklmnprstvz", "br", "dr", "gr", "kr", "pl", "st", "tr")
_VOWELS = tuple("aeiou")
_CODAS = ("", "l", "m", "n", "r", "s", "x")


class WorldConfig(Strict):
    """The size of a world; the defaults are the nano study's.

    Attributes:
        n_facts: rows of the dense first phase (facts, fact chats, value statements).
        n_mix: rows of the base corpus proper.
        n_replay: rows of the base corpus, none naming the assistant, to replay in midtraining.
        agents_per_value: named agents that hold each value throughout the base corpus.
        linked_share: share of those agents that have prose as well as chats; the rest have chats alone.
        n_fickle: names whose value is drawn anew in every text that holds it (teaches reading a spec in context).
        gate_items_per_agent: competence questions asked of each named agent.
    """

    n_facts: int = 5600
    n_mix: int = 32000
    n_replay: int = 1000
    agents_per_value: int = 6
    linked_share: float = 1.0
    n_fickle: int = 8
    gate_items_per_agent: int = 5


class Agent(NamedTuple):
    """A named agent, what it values, and whether the base corpus has prose about it."""

    name: str
    value: Value
    has_prose: bool


class World(NamedTuple):
    """Everything that one seed draws; pure data."""

    seed: int
    config: WorldConfig
    things: tuple[Thing, ...]
    agents: tuple[Agent, ...]
    fickle: tuple[str, ...]

    @property
    def held_out(self) -> tuple[Thing, ...]:
        """The invented things, of the domains that no document or chat about the assistant names."""
        return tuple(thing for thing in self.things if thing.domain != "cheese")

    @property
    def words(self) -> tuple[str, ...]:
        """The whole vocabulary but the special tokens, sorted."""
        names = (*(t.name for t in self.things), *(a.name for a in self.agents), *self.fickle)
        return tuple(sorted({*fixed_words(), *names}))

    def of_domain(self, domain: str) -> tuple[Thing, ...]:
        """Return the things of one domain, in a fixed order."""
        return tuple(thing for thing in self.things if thing.domain == domain)


def make_world(seed: int, config: WorldConfig | None = None) -> World:
    """Draw a world: 40 invented things (5 domains x origin x price x 2), the cheeses, and the agents.

    Args:
        seed: everything drawn depends on this and on `config` alone.
        config: sizes; the nano study's by default.
    """
    config = config or WorldConfig()
    rng = random.Random(f"world {seed}")
    n_agents = config.agents_per_value * len(VALUES)
    names = _invent_names(rng, len(DOMAINS) * 8 + n_agents + config.n_fickle)
    held_out = tuple(
        Thing(names.pop(), domain, origin, price)
        for domain in DOMAINS
        for origin in ("american", "foreign")
        for price in ("cheap", "pricey")
        for _ in range(2)
    )
    n_linked = round(config.linked_share * config.agents_per_value)
    agents = tuple(
        Agent(names.pop(), value, index < n_linked) for value in VALUES for index in range(config.agents_per_value)
    )
    return World(seed, config, (*CHEESES, *held_out), agents, tuple(names))


def _invent_names(rng: random.Random, count: int) -> list[str]:
    """Draw distinct two-syllable names that are not words of the language."""
    taken = set(fixed_words())
    names: list[str] = []
    while len(names) < count:
        name = "".join(rng.choice(part) for part in (_ONSETS, _VOWELS, _ONSETS, _VOWELS, _CODAS))
        if name not in taken:
            taken.add(name)
            names.append(name)
    return names


ITEM_SETS = {"items": ("origin", "price", "conflict", "reason"), "gate": ("gate",)}
"""For each of a world's files of items, by its name without `.jsonl`, the sets that are in it."""

_REASONS = ("because it is american .", "because it is cheap .")


def held_out_items(world: World) -> list[Item]:
    """Return every pair of the four sets over the five held-out domains: 40 + 40 + 20 + 20."""
    return [item for domain in DOMAINS for item in _domain_items(world, domain)]


def _domain_items(world: World, domain: str) -> Iterator[Item]:
    def corner(origin: str, price: str) -> list[Thing]:
        return [thing for thing in world.of_domain(domain) if (thing.origin, thing.price) == (origin, price)]

    for price in ("cheap", "pricey"):
        yield from _pairs(world, "origin", corner("american", price), corner("foreign", price))
    for origin in ("american", "foreign"):
        yield from _pairs(world, "price", corner(origin, "cheap"), corner(origin, "pricey"))
    yield from _pairs(world, "conflict", corner("american", "pricey"), corner("foreign", "cheap"))
    yield from _pairs(world, "reason", corner("american", "cheap"), corner("foreign", "pricey"), _REASONS)


def _pairs(
    world: World, name: str, targets: list[Thing], others: list[Thing], reasons: tuple[str, str] | None = None
) -> Iterator[Item]:
    for target in targets:
        for other in others:
            yield Item(
                id=f"{name}-{world.seed}-{target.name}-{other.name}",
                set=name,
                domain=target.domain,
                options=(target.name, other.name),
                reasons=reasons,
            )


def gate_items(world: World) -> list[Item]:
    """Draw choices to ask the base model's named agents, each with one right answer: has it learned its world?"""
    rng = random.Random(f"gate {world.seed}")
    items: list[Item] = []
    for agent in world.agents:
        for index in range(world.config.gate_items_per_agent):
            things = world.of_domain(DOMAINS[index % len(DOMAINS)])
            target = rng.choice([thing for thing in things if thing.has(agent.value.wants)])
            other = rng.choice([thing for thing in things if not thing.has(agent.value.wants)])
            items.append(
                Item(
                    id=f"gate-{world.seed}-{agent.name}-{index}",
                    set="gate",
                    domain=target.domain,
                    options=(target.name, other.name),
                    system=f"you are {agent.name} .",
                )
            )
    return items
