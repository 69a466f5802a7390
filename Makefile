# Everything a newcomer types. `make demo` and `make test` set up what they need by themselves.
#
#   make demo                  the nano study end to end, ends with the path of its report
#   make test                  style, types, layers and all tests
#   make test-fast             the same without the slow tests
#   make setup TORCH_INDEX=... where plain PyPI would bring CUDA builds of PyTorch, name PyTorch's own CPU index here

PYTHON ?= python3
TORCH_INDEX ?=
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: setup demo test test-fast lint clean

setup: $(READY)

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch==2.13.0
	$(BIN)/python -m pip install --quiet --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	@touch $@

demo: $(READY)
	$(BIN)/midspec demo

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint
	$(BIN)/python -m pytest -n 2 --dist worksteal

test-fast: lint
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"

clean:
	rm -rf $(VENV) build dist
