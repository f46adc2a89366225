# Needs python3 (3.11 or later) with pip, and make. Everything else goes into .venv.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help setup demo quick test test-gpu test-slice test-all lint bench compile paper related rivals validate kernel-fits clean
help:  ## Show what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

setup: .venv/ready  ## Install the pinned packages and bros-sim into .venv

.venv/ready: requirements.lock pyproject.toml
	$(PYTHON) -m venv --without-pip .venv
	$(PYTHON) -m pip --disable-pip-version-check --python $(BIN)/python install --quiet -r requirements.lock
	$(PYTHON) -m pip --disable-pip-version-check --python $(BIN)/python install --quiet --no-deps --no-build-isolation -e .
	@touch $@

demo: setup  ## Run experiments/quickstart.yaml: one table, one attainment figure
	$(BIN)/bros-sim run experiments/quickstart.yaml

lint: setup  ## Lint, format, types and the import contract
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

quick: lint  ## Lint, types, imports and the tests of less than a second (a minute and a half)
	$(BIN)/pytest -n 2 -m "not slow and not long" --hypothesis-profile quick

test: lint  ## Lint, test and run the notebooks (five to six minutes on two fast cores)
	$(BIN)/pytest -n 2 -m "not long"
	$(BIN)/pytest -n 2 --nbmake notebooks

test-gpu: setup  ## Install PyTorch (large) and test `bros-sim profile measure`, on the CPU if there is no GPU
	$(PYTHON) -m pip --disable-pip-version-check --python $(BIN)/python install --quiet -r requirements-gpu.lock
	$(BIN)/pytest tests/calibration/test_measure.py

SLICE ?= $(shell git rev-parse HEAD 2> /dev/null || echo 0)
test-slice: setup  ## A twelfth of the long campaigns, chosen by the commit's hash (up to five minutes)
	$(BIN)/pytest -n 2 --slice $(SLICE)

test-all: lint  ## The same as test with examples drawn anew, and all long campaigns
	$(BIN)/pytest -n 2 --hypothesis-profile search
	$(BIN)/pytest -n 2 --nbmake notebooks

bench: setup  ## Measure speed and memory, print docs/speed.md's table
	$(BIN)/python benchmarks/bench.py
	$(BIN)/python -m benchmarks.overhead

COMPILED := $(CURDIR)/build/compiled
compile: setup  ## Compile what runs in every iteration (needs a C compiler), then test it
	$(BIN)/python -m benchmarks.compiled $(COMPILED)
	PYTHONPATH=$(COMPILED) $(BIN)/bros-sim conformance vllm tests/data/vllm_decisions
	PYTHONPATH=$(COMPILED) $(BIN)/pytest -n 2 -m "not long" tests/core/test_laws.py tests/golden

paper: setup  ## Run the BROS paper's experiments, write docs/paper-reproduction.md and its figures
	for file in experiments/paper/*.yaml; do \
	  $(BIN)/bros-sim run $$file --format json > /dev/null || exit 1; done
	$(BIN)/python -m benchmarks.paper results docs/paper-reproduction.md

related: setup  ## Run RelayAttention, REFRAG and kunserve_like, write docs/related.md
	for name in relay_attention refrag kunserve_like; do \
	  $(BIN)/bros-sim run experiments/$$name.yaml --format json > /dev/null || exit 1; done
	$(BIN)/python -m benchmarks.related results docs/related.md

rivals: setup  ## Run every policy on the same arrivals, write docs/rivals.md and its figures
	$(BIN)/python -m benchmarks.rivals results docs/rivals.md

validate: setup  ## Replay all real runs, write docs/validation.md (needs ../shared; a quarter of an hour)
	$(BIN)/python -m benchmarks.validation ../shared docs/validation.md

TABLES ?= ../shared/data/profiles
kernel-fits: setup  ## Fit the kernel-calibrated profiles anew from TABLES, write docs/kernel-fits.md
	$(BIN)/python -m benchmarks.kernel_fits $(TABLES) docs/kernel-fits.md

clean:  ## Remove .venv, caches and what `make compile` made
	rm -rf .venv build/compiled .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
