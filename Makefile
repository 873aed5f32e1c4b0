# The habits of the project; `make help` lists them. Everything runs in .venv, which is made on first use and brought
# up to date when setup.cfg changes.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --no-print-directory

PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$python" && break; done)
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# What the examples of the how-tos take, and nothing else needs.
INSTALLED_EXAMPLES := $(VENV)/.installed-examples
# Numbers are of what users install: an editable install adds 10 ms to every start.
BENCH_VENV := .venv-bench
INSTALLED_BENCH := $(BENCH_VENV)/.installed

# `make sim PEERS=1000 SEED=7`, `make sim SCENARIO=tests/sim/scenarios/churn.toml`, `make soak SEEDS=50`,
# `make test TESTS=tests/unit/kad`, `make bench BENCH=--quick`
PEERS ?= 1000
SEED ?= 1
SEEDS ?= 20
SOAK_PEERS ?= 200
SCENARIO ?=
MIXED_SEEDS ?= 10000
KILLS ?= 1000
CUTS ?= 100
MINUTES ?= 60
SECONDS ?= 60
TESTS ?= tests
# `make mutate THREATS="1 4.2"`: sections and rows of docs/THREATS.md
THREATS ?=
WORKERS ?= 2
# Tests of real daemons wait more than they compute: one worker more than there are cores.
TEST_WORKERS ?= 3

.DEFAULT_GOAL := help
.PHONY: bench buildtools check clean demo docs format fsspec fuzz help liars lint mutate sim soak test

help:  ## list what there is
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(INSTALLED): setup.cfg pyproject.toml
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11 or newer: install one, or give PYTHON=..." >&2; exit 1; }
	@test -x $(BIN)/python || "$(PYTHON)" -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

$(INSTALLED_BENCH): $(INSTALLED) $(shell find peerd cli -name '*.py' 2>/dev/null)
	@test -x $(BENCH_VENV)/bin/python || "$(PYTHON)" -m venv $(BENCH_VENV)
	@$(BENCH_VENV)/bin/python -m pip install --quiet --disable-pip-version-check '.[test]'
	@rm -rf build
	@$(BENCH_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --force-reinstall --no-deps .
	@$(BENCH_VENV)/bin/python -m pip install --quiet --disable-pip-version-check '.[bench]' \
		|| echo "make: without libtorrent: there is none for this Python" >&2
	@touch $@

$(INSTALLED_EXAMPLES): $(INSTALLED)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,examples]' \
		|| echo "make: without pandas and pyarrow: the example of them is not tried" >&2
	@touch $@

demo: $(INSTALLED)  ## five peers on this machine: put on one, get from another
	@$(BIN)/python -m peerd.lab.demo

lint: $(INSTALLED)  ## format, style, types and layers
	@$(BIN)/ruff format --check --quiet . || { echo "make: not formatted: run make format" >&2; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy --strict peerd cli peerd_fsspec
	@$(BIN)/lint-imports --no-logo

check: lint  ## what to run before every commit, under a minute
	@$(BIN)/pytest -q -n $(WORKERS) --dist loadgroup -m "not slow" tests/unit

test: lint $(INSTALLED_EXAMPLES)  ## check, and the tests with real sockets, processes and network namespaces
	@$(BIN)/pytest -n $(TEST_WORKERS) --dist loadgroup $(TESTS)

fsspec: $(INSTALLED)  ## all of fsspec's own abstract tests against a real daemon; `make test` has some of each kind
	@ABSTRACT_ALL=1 $(BIN)/pytest -q -n $(TEST_WORKERS) --dist loadgroup tests/live/test_fsspec.py

buildtools: $(INSTALLED)  ## the real Bazel and Gradle, where they are installed, against two real daemons
	@$(BIN)/pytest -q -n 0 tests/live/build_tools.py

liars: $(INSTALLED)  ## what 10, 20 and 30 % of liars among 2,000 simulated peers cost the honest
	@$(BIN)/python -m tests.bench.liars

mutate: $(INSTALLED)  ## remove the checks of docs/THREATS.md one at a time: a test must go red for each
	@$(BIN)/python -m tests.mutation $(THREATS)

bench: $(INSTALLED_BENCH)  ## beside the kademlia package, libtorrent and OpenDHT
	@$(BENCH_VENV)/bin/python -m tests.bench $(BENCH)

sim: $(INSTALLED)  ## PEERS simulated peers from SEED, or a SCENARIO
	@$(BIN)/peerd sim $(if $(SCENARIO),--scenario $(SCENARIO),--peers $(PEERS)) --seed $(SEED)

soak: $(INSTALLED)  ## SEEDS and MIXED_SEEDS simulated; KILLS, power CUTS, MINUTES of mixed faults and liars of daemons
	@$(BIN)/peerd sim --peers $(SOAK_PEERS) --seed $(SEED) --seeds $(SEEDS)
	@$(BIN)/peerd sim --mixed --seed $(SEED) --seeds $(MIXED_SEEDS)
	@for scenario in tests/sim/scenarios/*.toml; do PYTHONPATH=. $(BIN)/peerd sim --scenario $$scenario --seed $(SEED); done
	@$(BIN)/python -m tests.soak audits --seed $(SEED) --seeds $(MIXED_SEEDS)
	@$(BIN)/python -m tests.soak kill --rounds $(KILLS)
	@$(BIN)/python -m tests.soak power --cuts $(CUTS)
	@$(BIN)/python -m tests.soak mixed --minutes $(MINUTES)
	@$(BIN)/python -m tests.soak liars
	@FLOOD_S=60 $(BIN)/pytest -q -n 0 tests/live/test_daemon_flood.py

fuzz: $(INSTALLED)  ## wrong bytes from SEED for SECONDS: decoders, datagrams, requests
	@$(BIN)/python -m tests.fuzz --seed $(SEED) --seconds $(SECONDS)

format: $(INSTALLED)  ## write the code in the project's form
	@$(BIN)/ruff format --quiet .
	@$(BIN)/ruff check --quiet --fix .

docs: $(INSTALLED)  ## print docs/SETTINGS.md from the table of settings
	@$(BIN)/python -m peerd.config > docs/SETTINGS.md.new
	@mv docs/SETTINGS.md.new docs/SETTINGS.md

clean:  ## remove what can be made again
	@rm -rf $(VENV) $(BENCH_VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
