"""The step that writes chats from a spec."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue

from midspec.core.artifact import Built
from midspec.core.records import Chat, Spec
from midspec.generation import TEMPLATE_AUTHOR
from midspec.llm import Forecast, Store, embed
from midspec.study._step import Cost, Job, Size, count_of
from midspec.study.jobs._corpus import AuthoredStep, files_of
from midspec.study.jobs._endpoints import ModelEndpoints, forecast_of, open_model, open_store, price_of, with_spent
from midspec.study.jobs._sources import SpecNames

if TYPE_CHECKING:
    from midspec.chats import ChatConfig, Chats

_VERDICTS = ".verdicts"


@dataclass(frozen=True, kw_only=True, eq=False)
class ChatsStep(AuthoredStep):
    """Chats that show what a spec says; `endpoints` are of the models that write and judge, if any."""

    kind = "chats"
    config: ChatConfig
    endpoints: ModelEndpoints = ModelEndpoints()

    @classmethod
    def of_file(cls, spec: Path, config: ChatConfig, endpoints: ModelEndpoints | None = None) -> ChatsStep:
        """Create the step for a spec file outside a study."""
        return cls(**files_of(spec, config.frames), config=config, endpoints=endpoints or ModelEndpoints())

    def size(self, summary: Mapping[str, JsonValue]) -> Size:
        if self.config.author == TEMPLATE_AUTHOR:
            n_chats = count_of(summary, "n_chats")
            return Size(documents=len(self.beforehand().chats) if n_chats is None else n_chats)
        n_chats = count_of(summary, "n_chats", self.config.n_wanted)
        return Size(documents=n_chats, tokens=(n_chats or 0) * self.config.mean_tokens if n_chats is not None else None)

    def beforehand(self) -> Chats:
        """Return the template author's chats before the step is made, as many as it will have; other seeds draw others.

        Raises:
            SpecError, ConfigError, MissingError: what the step itself would refuse.
        """
        frames = self.config.frames if self.templates is None else self.templates.locate({})
        config = self.config.model_copy(update={"frames": frames, "seed": 0})
        path = self.spec.original.locate({})
        read = tuple((name, Path(name).stat().st_mtime_ns) for name in (path, frames) if Path(name).is_file())
        return _by_template(path, self.spec_name, config.model_dump_json(), read)

    def price(self) -> Cost | None:
        if self.config.author == TEMPLATE_AUTHOR:
            return None
        spec = self.names.read(self.spec.original.locate({}))
        return price_of(forecast_chats(spec, self.config, self.endpoints), self.endpoints)

    def run(self, job: Job, folder: Path) -> Built:
        from midspec.chats import author_chats, make_chats, save_chats

        spec, config = self.names.read(job.locate(self.spec)), self.config.model_copy(update=self.templates_at(job))
        if config.author == TEMPLATE_AUTHOR:
            return save_chats(make_chats(spec, config), folder, nested_sizes=config.nested_sizes)

        async def write(store: Store) -> Built:
            async with (
                open_model(config.author_model, self.endpoints.author, store, "author") as author,
                open_model(config.judge, self.endpoints.judge, store, "judge") as judge,
            ):
                by = config.writing.embed if config.writing else None
                vectors = partial(embed, model=by, access=self.endpoints.author) if by else None
                width, tell = self.endpoints.author.width, job.on_progress
                return await author_chats(
                    spec, config, author, judge, store, folder, embed=vectors, on_progress=tell, width=width
                )

        with open_store(job.store) as store:
            return with_spent(asyncio.run(write(store)), store)


@lru_cache(maxsize=16)
def _by_template(path: str, spec_name: str, config: str, _read: tuple[tuple[str, int], ...]) -> Chats:
    from midspec.chats import ChatConfig, make_chats

    asked = ChatConfig.model_validate_json(config)
    return make_chats(SpecNames.of(spec_name, asked).read(path), asked)


def preview_chats(
    spec: Spec, config: ChatConfig, endpoints: ModelEndpoints, store_path: Path, n_chats: int
) -> list[Chat]:
    """Have a model write a few chats; they are paid for and stored, and nothing else is written.

    Raises:
        ConfigError: a key is missing, the budget is used up, or the price of a budgeted model is unknown.
    """
    from midspec.chats import preview_chats as preview

    async def write(store: Store) -> list[Chat]:
        async with (
            open_model(config.author_model, endpoints.author, store, "author") as author,
            open_model(config.judge, endpoints.judge, store, "judge") as judge,
        ):
            made = await preview(spec, config, author, judge, store, n_chats, width=endpoints.author.width)
            return list(made.chats)

    with open_store(store_path) as store:
        return asyncio.run(write(store))


def forecast_chats(spec: Spec, config: ChatConfig, endpoints: ModelEndpoints) -> tuple[Forecast, Forecast]:
    """Forecast tokens and dollars of chats by stage, the author's and the judge's; nothing is sent."""
    from midspec.chats import estimate_chats

    assert config.judge is not None, "the config's own check names a judge"
    stages = estimate_chats(spec, config)
    return (
        forecast_of([one for one in stages if not one.stage.endswith(_VERDICTS)], config.author, endpoints.author),
        forecast_of([one for one in stages if one.stage.endswith(_VERDICTS)], config.judge.model, endpoints.judge),
    )


STEPS = ChatsStep
