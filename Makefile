# Every target sets up what it needs in .venv of this checkout.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

# Every command that a test starts would compile all of the project again.
unexport PYTHONDONTWRITEBYTECODE

# Fast tests share the cores, whoever is idle taking over from the other; slow ones, with the real model, take all of them each.
IN_PARALLEL := --numprocesses logical --maxprocesses 8 --dist worksteal

# `make quickstart SHORT=1` takes two rounds instead of the whole experiment.
QUICKSTART_OPTIONS := $(if $(SHORT),--runs runs-short --set federation.rounds=2 --set local.steps=1 --set evaluate.clients=4)

.PHONY: help quickstart extras test test-all flower vllm check bench docs clean
.DEFAULT_GOAL := help

help: ## Show what there is to make
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

quickstart: $(VENV)/.installed ## Fine-tune SmolLM2-135M on real conversations, federated and local; table and report
	$(BIN)/fedllm-bench quickstart $(QUICKSTART_OPTIONS)

extras: $(VENV)/.installed-analysis $(VENV)/.installed-evaluation $(VENV)/.installed-quantization ## Add what benchmarks, judges, measures of data and 8- or 4-bit bases need

test: $(VENV)/.installed-dev ## Run the fast tests (under two minutes on two cores)
	$(BIN)/python -m pytest $(IN_PARALLEL)

test-all: $(VENV)/.installed-dev $(VENV)/.installed-flower $(VENV)/.installed-vllm ## Run every test, the real 135M model's too
	$(BIN)/python -m pytest $(IN_PARALLEL) -m "not slow"
	$(BIN)/python -m pytest -m slow

flower: $(VENV)/.installed-flower ## Install Flower beside .venv, for the comparison of server optimizers

vllm: $(VENV)/.installed-vllm ## Install vLLM beside .venv, for the comparison of engines

check: $(VENV)/.installed-dev ## Lint, check types and import layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.installed-dev $(VENV)/.installed-bench ## Measure speed and memory beside the peers (about half an hour)
	$(BIN)/python -m benchmarks

docs: $(VENV)/.installed-docs ## Build the documentation in site/
	$(BIN)/mkdocs build --strict

clean: ## Remove the environment and what was built
	rm -rf $(VENV) site dist

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# Torch first and alone: a constrained resolve of everything together would look at its GPU builds.
$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(INSTALL) "$$(grep '^torch==' constraints.txt)"
	$(INSTALL) --editable .
	@touch $@

$(VENV)/.installed-%: $(VENV)/.installed
	$(INSTALL) --editable '.[$*]'
	@touch $@

# Flower asks for older versions of what the project uses: it gets a folder of its own, without its dependencies.
$(VENV)/.installed-flower: tests/flower_requirements.txt $(VENV)/.installed-dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target $(VENV)/flower --requirement tests/flower_requirements.txt
	@touch $@

# vLLM, too: it pins what it uses, and brings gigabytes.
$(VENV)/.installed-vllm: tests/vllm_requirements.txt $(VENV)/.installed
	$(PYTHON) -m venv $(VENV)/vllm
	$(VENV)/vllm/bin/python -m pip install --quiet --disable-pip-version-check "$$(grep '^torch==' constraints.txt)"
	$(VENV)/vllm/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement tests/vllm_requirements.txt
	$(VENV)/vllm/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@
