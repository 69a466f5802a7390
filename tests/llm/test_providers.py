"""A provider is one file: those of midspec and those of other packages are found, and nothing lists them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from midspec.core.errors import ConfigError
from midspec.llm import Access, ModelConfig, check_access, check_model_name, is_model_name, provider_names

from ..installed import install

TOY = """
from midspec.llm import Outcome, Provider, Usage


class ToyClient:
    url = "toy:"

    def __init__(self, model, access):
        self._name = model.model.partition("/")[2]

    async def ask(self, request):
        usage = Usage(n_input=1000, n_output=1000)
        return Outcome(kind="ok", text=f"{self._name} answers {request.prompt}", stop_reason="stop", usage=usage)

    async def close(self):
        pass


PROVIDER = Provider(name="toy", client=ToyClient)
"""

ASK = """
import asyncio, sys
from pathlib import Path
from midspec.core.errors import ConfigError
from midspec.llm import Access, ModelConfig, Request, Store, check_access, embed, open_client, provider_names

model, prices = ModelConfig(model="toy/bear"), "prices.yaml"
Path(prices).write_text("toy/bear: {input: 1.0, output: 2.0}")
access = Access(prices=prices, budget_usd=5.0)

async def main():
    check_access(model, access)
    with Store(Path("store.sqlite")) as store:
        async with open_client(model, access, store, role="author") as client:
            outcome = await client.ask(Request(task="t", stage="s", prompt="a question", max_tokens=9))
        print(provider_names(), outcome.text, outcome.cost_usd, store.ledger()[0].model)
    try:
        check_access(model, Access(batch=True))
    except ConfigError as error:
        print(error)
    try:
        await embed(["a"], model, access)
    except ConfigError as error:
        print(error)

asyncio.run(main())
"""


@pytest.fixture
def toy_installed(tmp_path: Path) -> Path:
    """A package outside midspec with one file that holds a provider, and its entry point."""
    return install(tmp_path, "toy_provider", "providers", "toy = toy_provider:PROVIDER", toy_provider=TOY)


def test_a_provider_of_another_package_answers_through_the_whole_chain(toy_installed: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ASK],
        cwd=toy_installed,
        env={**os.environ, "PYTHONPATH": str(toy_installed)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answered, no_batches, no_vectors = done.stdout.splitlines()
    assert answered == "('anthropic', 'openai', 'toy') bear answers a question 0.003 toy/bear"
    assert no_batches == "--batch: toy has no batch endpoint. Leave --batch out"
    assert no_vectors.startswith("model: toy/bear gives no embeddings. ")
    assert "openai/MODEL" in no_vectors


def test_a_models_name_begins_with_a_provider_that_there_is() -> None:
    assert provider_names() == ("anthropic", "openai")
    assert check_model_name("openai/org/model-7b") == "openai/org/model-7b"
    for wrong in ("gpt-5", "openai/", "/x", "other/model", ""):
        assert not is_model_name(wrong)
        with pytest.raises(ConfigError, match="anthropic/MODEL and openai/MODEL"):
            check_model_name(wrong, where="--author")
        with pytest.raises(ValueError, match="no model's name"):
            ModelConfig(model=wrong)


def test_the_key_that_is_asked_for_is_the_providers(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in provider_names():
        monkeypatch.delenv(f"{name.upper()}_API_KEY", raising=False)
        with pytest.raises(ConfigError, match=f"{name.upper()}_API_KEY"):
            check_access(ModelConfig(model=f"{name}/m"), Access())
        check_access(ModelConfig(model=f"{name}/m"), Access(base_url="http://127.0.0.1:9"))
