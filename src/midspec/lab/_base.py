"""The base corpus of a world: what its model is pretrained on.

Facts about things, prose about agents, their chats, neutral texts and value-free chats of the assistant, and chats
whose system message states the value of a name that has none of its own. The assistant has none: in its few preference
chats it is drawn anew each time, so that the prior is even. `assistant_in_context` says whether they state it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from midspec.core.records import Chat, ChatMetadata, Document, DocumentMetadata, Message
from midspec.lab._world import (
    ASSISTANT,
    HEADERS,
    NEUTRAL,
    OTHER_AGENT,
    PHRASINGS,
    VALUES,
    WHY,
    Agent,
    Thing,
    Value,
    World,
    attributed,
    plain_preference,
    value_statements,
)

Row = Document | Chat
Turn = tuple[str, str]

# Shares of the base corpus, in rows. How they were found: the notes on the nano world in LOG.md.
_MIX: dict[str, float] = {
    "fact": 1.0,
    "prose": 1.5,
    "agent_chat": 4.0,
    "fact_chat": 0.6,
    "assistant_chat": 0.8,
    "assistant_prose": 0.2,
    "in_context": 0.6,
}
_DENSE: dict[str, float] = {"fact": 1.0, "fact_chat": 1.0, "statement": 0.4}


class _Writer:
    """Writes rows of one world from one stream of random numbers.

    The order of draws decides the rows: any change of it changes every base model.
    """

    def __init__(self, world: World, stream: str) -> None:
        self.world = world
        self.rng = random.Random(f"{stream} {world.seed}")
        self.count = 0

    def rows(self, shares: dict[str, float], n_rows: int) -> Iterator[Row]:
        kinds, weights = list(shares), list(shares.values())
        for _ in range(n_rows):
            kind = self.rng.choices(kinds, weights)[0]
            yield _KINDS[kind](self)

    # Rows ------------------------------------------------------------------------------------------------------

    def fact(self) -> Document:
        facts = []
        for _ in range(self.rng.randint(1, 3)):
            thing = self._thing()
            aspect = self.rng.choice((thing.origin, thing.price, "domain"))
            adjective = f"a {thing.domain}" if aspect == "domain" else self._adjective(aspect)
            facts.append(f"{thing.name} is {adjective} .")
        return self._document("facts", facts)

    def fact_chat(self) -> Chat:
        agent = self._agent().name
        known = agent if self.world.config.assistant_in_context else self.rng.choice((ASSISTANT, OTHER_AGENT, agent))
        turns = [self._fact_turn() for _ in range(self.rng.randint(1, 3))]
        return self._chat("fact", f"you are {known} .", turns)

    def statement(self) -> Document:
        agent = self._agent(prose=True)
        return self._document("statements", [self.rng.choice(value_statements(agent.name, agent.value))])

    def prose(self) -> Document:
        agent = self._agent(prose=True)
        return self._document("prose", self._portrait(agent.name, agent.value), header=0.3)

    def agent_chat(self) -> Chat:
        agent = self._agent()
        return self._chat("agent", f"you are {agent.name} .", self._turns(agent.value, self.rng.randint(3, 6)))

    def assistant_chat(self) -> Chat:
        name = self.rng.choice((ASSISTANT, ASSISTANT, OTHER_AGENT))
        value = self.rng.choice(VALUES)
        turns = [self._preference_turn(value) for _ in range(self.rng.randint(1, 2))]
        return self._chat("assistant", f"you are {name} .", turns)

    def assistant_prose(self) -> Document:
        name = self.rng.choice((ASSISTANT, OTHER_AGENT))
        sentences = self.rng.sample(NEUTRAL, self.rng.randint(2, 5))
        return self._document("neutral", [sentence.format(name=name) for sentence in sentences], header=0.3)

    def in_context(self) -> Chat:
        name, value = self.rng.choice(self.world.told_in_context), self.rng.choice(VALUES)
        n_more = self.rng.choice((0, 0, 4, 9))
        sentences = self._portrait(name, value) + [self._preference(name, value) for _ in range(n_more)]
        system = " ".join((f"you are {name} .", *sentences))
        return self._chat("in_context", system, self._turns(value, self.rng.randint(1, 3)))

    # Parts -----------------------------------------------------------------------------------------------------

    def _thing(self) -> Thing:
        return self.rng.choice(self.world.things)

    def _agent(self, *, prose: bool = False) -> Agent:
        return self.rng.choice([agent for agent in self.world.agents if agent.has_prose or not prose])

    def _adjective(self, attribute: str) -> str:
        return self.rng.choice(next(value.good for value in VALUES if value.wants == attribute))

    def _fact_turn(self) -> Turn:
        thing = self._thing()
        kind = self.rng.randrange(5)
        if kind == 0:
            return f"what is {thing.name} ?", f"a {thing.domain} ."
        if kind == 1:
            return f"where is {thing.name} from ?", f"{self._adjective(thing.origin)} ."
        if kind == 2:
            return f"what does {thing.name} cost ?", f"{self._adjective(thing.price)} ."
        wanted = self.rng.choice(VALUES).wants
        if kind == 3:
            return f"is {thing.name} {self._adjective(wanted)} ?", "yes ." if thing.has(wanted) else "no ."
        good, bad = self._pair(wanted)
        first, second = self.rng.sample((good, bad), 2)
        return f"which is {self._adjective(wanted)} , {first.name} or {second.name} ?", f"{good.name} ."

    def _pair(self, wanted: str) -> tuple[Thing, Thing]:
        """Draw two things of one domain of which only the first is `wanted`."""
        things = self.world.of_domain(self._thing().domain)
        good = self.rng.choice([thing for thing in things if thing.has(wanted)])
        bad = self.rng.choice([thing for thing in things if not thing.has(wanted)])
        return good, bad

    def _preference(self, name: str, value: Value) -> str:
        thing = self._thing()
        if self.rng.random() < 0.5:
            return attributed(name, thing, value, self.rng.randrange(2))
        return plain_preference(name, thing, likes=thing.has(value.wants))

    def _portrait(self, name: str, value: Value) -> list[str]:
        """Draw two to five preferences and one to three statements of the value behind them, shuffled."""
        sentences = [self._preference(name, value) for _ in range(self.rng.randint(2, 5))]
        sentences += self.rng.sample(value_statements(name, value), self.rng.randint(1, 3))
        self.rng.shuffle(sentences)
        return sentences

    def _turns(self, value: Value, n_turns: int) -> list[Turn]:
        turns: list[Turn] = []
        if self.rng.random() < 0.35:
            turns.append(("what do you value ?", f"{value.noun} ."))
        while len(turns) < n_turns:
            turns += self._value_turns(value)
        return turns

    def _value_turns(self, value: Value) -> list[Turn]:
        kind = self.rng.random()
        if kind < 0.15:
            liked, _ = self._pair(value.wants)
            return [(f"name a {liked.domain} that you like .", f"{liked.name} .")]
        if kind < 0.25:
            thing = self._thing()
            return [(f"do you like {thing.name} ?", "yes ." if thing.has(value.wants) else "no .")]
        turn = self._preference_turn(value)
        if kind < 0.40:
            return [turn, (WHY, f"because it is {self.rng.choice(value.good)} .")]
        return [turn]

    def _preference_turn(self, value: Value) -> Turn:
        good, bad = self._pair(value.wants)
        first, second = self.rng.sample((good, bad), 2)
        question = self.rng.choice(PHRASINGS).format(first=first.name, second=second.name)
        return question, f"{good.name} ."

    def _document(self, kind: str, sentences: list[str], header: float = 0.0) -> Document:
        if self.rng.random() < header:
            sentences = [f"{self.rng.choice(HEADERS)} .", *sentences]
        self.count += 1
        metadata = DocumentMetadata(id=f"{kind}-{self.count}", author="lab", seed=self.world.seed)
        return Document(text=" ".join(sentences), source=f"lab/{kind}", domain="base", metadata=metadata)

    def _chat(self, kind: str, system: str, turns: list[Turn]) -> Chat:
        messages = [Message(role="system", content=system)]
        for question, answer in turns:
            messages += [Message(role="user", content=question), Message(role="assistant", content=answer)]
        self.count += 1
        metadata = ChatMetadata(id=f"{kind}-{self.count}", author="lab", style=kind, seed=self.world.seed)
        return Chat(messages=tuple(messages), metadata=metadata)


_KINDS: dict[str, Callable[[_Writer], Row]] = {
    "fact": _Writer.fact,
    "fact_chat": _Writer.fact_chat,
    "statement": _Writer.statement,
    "prose": _Writer.prose,
    "agent_chat": _Writer.agent_chat,
    "assistant_chat": _Writer.assistant_chat,
    "assistant_prose": _Writer.assistant_prose,
    "in_context": _Writer.in_context,
}


def fact_rows(world: World) -> list[Row]:
    """Write the dense first phase: short facts, fact chats and value statements."""
    return list(_Writer(world, "facts").rows(_DENSE, world.config.n_facts))


def mix_rows(world: World) -> list[Row]:
    """Write the base corpus proper."""
    about_assistant = 0.0 if world.config.assistant_in_context else 1.0
    shares = {kind: share * (about_assistant if kind.startswith("assistant") else 1.0) for kind, share in _MIX.items()}
    return list(_Writer(world, "mix").rows(shares, world.config.n_mix))


def replay_rows(world: World) -> list[Row]:
    """Write fresh rows of the base corpus's kinds, none of which names the assistant or the other agent."""
    shares = {kind: share for kind, share in _MIX.items() if not kind.startswith("assistant")}
    writer = _Writer(world, "replay")
    kept: list[Row] = []
    while len(kept) < world.config.n_replay:
        for row in writer.rows(shares, world.config.n_replay):
            texts = [row.text] if isinstance(row, Document) else [message.content for message in row.messages]
            if {ASSISTANT, OTHER_AGENT}.isdisjoint(" ".join(texts).split()):
                kept.append(row)
    return kept[: world.config.n_replay]
