# Everything a newcomer types: `make demo` and `make test`. Both set up what they need in .venv first.

# Without bytecode, every process that a test starts compiles torch anew, which takes seven seconds.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
ATLAS := demo.atlas
# Nothing enters .venv but files whose hashes the lock names: wheels only, because building a source
# archive would download its build requirements unchecked.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile
LOCKED := --require-hashes --only-binary :all: --requirement
COMPILE := $(BIN)/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes \
    --no-annotate --custom-compile-command 'make lock' $(UPGRADE)

.PHONY: help install demo tutorial docs wheel test torture matrix bench check style types tests mini lock format clean

help: ## say what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP) ## set up .venv with locked versions (7.5 GB on Linux, about two minutes)

# The stamp is newer than its inputs only after a complete install, so an interrupted one runs again.
$(STAMP): pyproject.toml requirements.lock
	@python=$$(bash tools/find_python.sh) || exit 1; \
	if ! $(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    echo "Setting up $(VENV) with $$python"; \
	    rm -rf $(VENV); \
	    "$$python" -m venv $(VENV) || { echo "make: could not create $(VENV)" \
	        "(on Debian and Ubuntu: apt install python3-venv)" >&2; exit 1; }; \
	fi
	@echo "Installing Synesthete and what it stands on (7.5 GB on Linux, about two minutes)"
	@$(PIP) $(LOCKED) requirements.lock
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(STAMP) ## record the shipped model on the built-in probes and show what it found
	@$(BIN)/synesthete demo --out $(ATLAS)

tutorial: $(STAMP) ## run every block of docs/tutorial.md on demo.atlas and write its numbers and figures (15 minutes)
	@HF_HUB_OFFLINE=1 $(BIN)/python docs/update_tutorial.py $(ATLAS)

docs: $(STAMP) ## build the documentation as a site, strictly, into build/docs/site
	@$(BIN)/python docs/build_site.py --out build/docs

wheel: $(STAMP) ## build the source archive and the wheel into dist/, install the wheel in a new environment and use it
	@HF_HUB_OFFLINE=1 $(BIN)/python tools/check_wheel.py

test: $(STAMP) style ## run every check and every test
	@bash tools/get_chromium.sh $(BIN)/python
	@$(MAKE) --no-print-directory --jobs 2 types tests

# mypy has one core to itself for minutes, where nothing is in its cache.
types: $(STAMP)
	@$(BIN)/mypy

tests: $(STAMP)
	@HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --max-worker-restart 0

torture: $(STAMP) ## kill, mutate, flood and bomb it, and print a table of what held (20 minutes; SECURITY.md)
	@HF_HUB_OFFLINE=1 $(BIN)/python -m tests.torture $(TORTURE)

matrix: $(STAMP) ## build, read and edit every architecture of open_clip and transformers, resumable (hours; docs/architectures.md)
	@HF_HUB_OFFLINE=1 $(BIN)/python benchmarks/architectures.py $(MATRIX)

bench: $(STAMP) ## measure the claims of the docs side by side, into docs/benchmarks.md (BENCH="--only search")
	@HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python benchmarks/run_all.py --out docs/benchmarks $(BENCH)

mini: $(STAMP) ## train a model as mini was trained, from packages (hours; docs/training.md)
	@$(PIP) $(LOCKED) requirements-training.lock
	@$(BIN)/python -m training mini --out mini.made $(MINI)

lock: $(STAMP) ## write the lock files again from pyproject.toml (newest versions: make lock UPGRADE=--upgrade)
	@$(COMPILE) --extra dev --output-file requirements.lock > /dev/null
	@$(COMPILE) --extra training --constraint requirements.lock --output-file requirements-training.lock > /dev/null

check: style types ## lint, formatting and strict types (the layers are checked by a test)

style: $(STAMP)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

format: $(STAMP) ## put the code into its one format
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

clean: ## remove what make made
	rm -rf $(VENV) $(ATLAS) demo.cards build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
