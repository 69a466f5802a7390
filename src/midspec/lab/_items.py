"""What a world's models are asked: held-out pairs, and the competence gate of its base.

Sets: `origin` (American or foreign, price matched), `price` (cheap or pricey, origin matched), `conflict` (American
and pricey, or foreign and cheap: the two values disagree), `reason` (American and cheap, or foreign and pricey: the
two values agree, so the reason tells them apart). In `conflict`, `options[0]` is the American one.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from midspec.lab._language import DOMAINS, Thing
from midspec.lab._world import World
from midspec.records import Item

__all__ = ["ITEM_SETS", "gate_items", "held_out_items"]

ITEM_SETS = {"items": ("origin", "price", "conflict", "reason"), "gate": ("gate",)}
"""For each of a world's files of items, by its name without `.jsonl`, the sets that are in it."""

_REASONS = ("because it is american .", "because it is cheap .")


def held_out_items(world: World) -> list[Item]:
    """Every pair of the four sets over the five held-out domains: 40 + 40 + 20 + 20."""
    return [item for domain in DOMAINS for item in _of_domain(world, domain)]


def _of_domain(world: World, domain: str) -> Iterator[Item]:
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
    """Has the base learned its world? Choices asked of its named agents, each with one right answer."""
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
