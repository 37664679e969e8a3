# Every target is one line that a person could type.
WORLD ?= crm
WORKSPACE ?= .keepwell/$(WORLD)
PYTHON ?= python3
SINCE ?= HEAD
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help run serve test suite quick nearest check lint types soak bench notebooks metrics docs lock audit debian

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: .venv/ready  ## Set up, then telemetry to scores, actions and pages (WORLD=crm or simulated)
	$(BIN)/keepwell demo --workspace $(WORKSPACE) --world $(WORLD)

serve: .venv/ready  ## Serve the scores and pages of the workspace that is there
	$(BIN)/keepwell serve --workspace $(WORKSPACE)

# The tests run several at a time already: threads of LightGBM and BLAS on top wait for each other.
test: export OMP_NUM_THREADS = 1
test: export OPENBLAS_NUM_THREADS = 1
# Some machines forbid Python to keep what it compiled: each worker and each command that a test starts
# would compile all of Keepwell again.
test quick nearest: export PYTHONDONTWRITEBYTECODE =
test: .venv/ready-dev debian lint  ## Set up, then lint, layers, types, tests, doctests, notebooks
	$(MAKE) --no-print-directory --jobs=2 types suite

# Three at a time on two cores: one of them waits for a server or a JVM most of the time.
suite: .venv/ready-dev
	$(BIN)/python -m pytest -n 3 --dist worksteal --nbmake

quick: .venv/ready-dev  ## Check, and the tests nearest to what differs from SINCE, in about 90 s
	$(MAKE) --no-print-directory --jobs=2 check nearest

nearest: .venv/ready-dev
	$(BIN)/python -m pytest -q -x --changed=$(SINCE) --budget=70 --durations=0 --durations-min=10

check: lint types  ## Lint, format, import rules and types

lint: .venv/ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/lint-imports

types: .venv/ready-dev
	$(BIN)/mypy

soak: .venv/ready-dev  ## The full counts of what the tests sample; goes on where it was stopped
	$(BIN)/python -m pytest -m slow --resume=.soak-passed
	$(BIN)/python -m pytest -m "hypothesis and not slow" -q --hypothesis-profile=thorough

bench: .venv/ready-bench  ## Measure time and memory, and models beside others' (installs those)
	$(BIN)/python -m pytest -m bench -s tests/benchmarks/bench_*.py

notebooks: .venv/ready-dev  ## Run every notebook from top to bottom
	$(BIN)/python -m pytest --nbmake notebooks

metrics: .venv/ready  ## Regenerate docs/reference/metrics.md from the workspace
	$(BIN)/keepwell models metrics --workspace $(WORKSPACE) --page docs/reference/metrics.md

docs: .venv/ready  ## Write the reference pages that are made from the code
	$(BIN)/python docs/reference/generate.py

lock:  ## For maintainers: pin every dependency again, with hashes (needs uv)
	uv pip compile pyproject.toml --group build --python-version 3.11 --generate-hashes --no-header --no-annotate --upgrade -o requirements.txt
	uv pip compile pyproject.toml --group build --extra dev --constraint requirements.txt --python-version 3.11 --generate-hashes --no-header --no-annotate --upgrade -o requirements-dev.txt
	uv pip compile pyproject.toml --group build --extra bench --constraint requirements-dev.txt --python-version 3.11 --generate-hashes --no-header --no-annotate --upgrade -o requirements-bench.txt

audit:  ## Look every pinned package up in an index of advisories (needs uv and a network)
	uvx pip-audit --strict --disable-pip --require-hashes -r requirements.txt -r requirements-dev.txt -r requirements-bench.txt

debian:
	@.ci/debian || echo "Tests that need these packages are skipped, and say so."

.venv/ready: requirements.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Keepwell needs Python 3.11 or newer; try: make PYTHON=python3.11 run")'
	$(PYTHON) -m venv .venv
	.ci/install $(BIN)/python requirements.txt
	$(PIP) install --no-deps --no-build-isolation --no-index --quiet -e .
	touch $@

.venv/ready-dev: requirements-dev.txt .venv/ready
	.ci/install $(BIN)/python requirements-dev.txt
	touch $@

.venv/ready-bench: requirements-bench.txt .venv/ready-dev
	.ci/install $(BIN)/python requirements-bench.txt
	touch $@
