# One command each; `make help` lists them. CI runs exactly `make ci` (see .ci/run).
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# `make install PYTHON=python3.12` picks an interpreter; else the first suitable one on PATH.
PYTHON ?=
# `make install LOCK=requirements-cuda.lock` for a machine with an NVIDIA GPU.
LOCK ?= requirements.lock
# Test processes; the quick tests of Ray run in one.
JOBS ?= $(shell n=$$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2); echo $$((n > 8 ? 8 : n)))
PYTEST_ARGS ?=
QUICKSTART_STORE ?= store

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed-$(LOCK)$(if $(PYTHON),-$(notdir $(PYTHON)))
CODE := gradsweep orchestrator trainables search_spaces results tests benchmarks examples
UV := $(BIN)/python -m uv pip compile --universal --python-version 3.11 --generate-hashes \
	--fork-strategy fewest --no-header --no-annotate
PYTEST := $(BIN)/python -m pytest $(PYTEST_ARGS)
PARALLEL := -n $(JOBS) --dist
# Most of a test is compiling, which takes about half as long by LLVM's first level and XLA's older
# emitters. Programs then take up to 1.6 times as long and round differently, so tests marked
# `exact`, which compare bits, and `ray`, which train longer, keep the flags that users have.
FAST := XLA_FLAGS="--xla_backend_optimization_level=1 --xla_cpu_use_fusion_emitters=false"
# pytest's exit status is 5 where a selection holds no test.
ALLOW_NONE := || { status=$$?; [ $$status -eq 5 ] || exit $$status; }

# Tests start hundreds of processes, each of which would compile our modules to bytecode again.
unexport PYTHONDONTWRITEBYTECODE

# `make test COLD=1` compiles everything again, in a cache that is empty at the start.
ifdef COLD
export GRADSWEEP_CACHE := $(CURDIR)/.cache/cold
endif

.PHONY: help
help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1|/' \
	    | while IFS='|' read -r name text; do printf '  make %-11s %s\n' "$$name" "$$text"; done

.PHONY: install
install: $(STAMP) ## complete environment in .venv, pinned and hashed; nothing to do if unchanged

$(STAMP): $(LOCK) pyproject.toml .ci/venv
	@bash .ci/venv "$(VENV)" "$(PYTHON)"
	@echo "Installing $(LOCK) into $(VENV): about a minute, longer on a slow line."
	$(BIN)/python -m pip install --quiet --require-hashes --only-binary :all: -r $(LOCK)
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

.PHONY: quickstart
quickstart: install ## train vanishing/quickstart, print its table, draw its figure
	$(BIN)/gradsweep launch vanishing/quickstart --store $(QUICKSTART_STORE)
	$(BIN)/gradsweep query summary --store $(QUICKSTART_STORE)
	$(BIN)/gradsweep plot vanishing/quickstart --store $(QUICKSTART_STORE)
	@echo "Try next:"
	@echo "  $(BIN)/gradsweep query \"select * from diagnosis\" --store $(QUICKSTART_STORE)"
	@echo "  $(BIN)/gradsweep debug vanishing/quickstart"
	@echo "  $(BIN)/gradsweep plan vanishing/depth --store $(QUICKSTART_STORE)"

.PHONY: test
test: install cold ## tests of at most about 8 s each; COLD=1 ignores compiled programs
	$(FAST) $(PYTEST) $(PARALLEL) loadfile -m "not (slow or study or ray or exact)" $(ALLOW_NONE)
	$(PYTEST) -m "(ray or exact) and not (slow or study)" $(ALLOW_NONE)

.PHONY: test-slow
test-slow: install ## the longer tests, and the shortest launch of each study
	$(FAST) $(PYTEST) $(PARALLEL) worksteal -m "slow and not (study or ray or exact)" $(ALLOW_NONE)
	$(PYTEST) $(PARALLEL) loadfile -m "slow and (ray or exact) and not study" $(ALLOW_NONE)

.PHONY: test-studies
test-studies: install ## full-length launches of the studies: for whoever changes one
	$(PYTEST) --timeout 3600 -m study $(ALLOW_NONE)

.PHONY: test-pythons
test-pythons: install ## the planner's and the store's tests on the oldest and the newest Python
	@bash .ci/pythons $(LOCK) 3.11 3.13

.PHONY: cold
cold:
	@$(if $(COLD),rm -rf "$(GRADSWEEP_CACHE)")

.PHONY: chaos
chaos: install ## a hundred random kills of workers, nodes and drivers; KILLS=n, SEED=n, PRUNE=halving or asha
	$(BIN)/python -m tests.support.ray.chaos --kills $(or $(KILLS),100) $(if $(SEED),--seed $(SEED)) \
	  $(if $(PRUNE),--prune $(PRUNE))

.PHONY: fuzz
fuzz: install ## wrong requests and damaged stores, CASES=5000 of them: a quarter of an hour
	$(PYTEST) -n $(JOBS) tests/fuzz --fuzz-cases $(or $(CASES),5000)

.PHONY: mutants
mutants: $(VENV)/.mutants ## which changes of the core no quick test notices; SEED=0, COUNT=200, ARGS=--help
	$(FAST) $(BIN)/python -m tests.mutants --seed $(or $(SEED),0) --count $(or $(COUNT),200) $(ARGS)

# Without yattag, of which there is no wheel and which cosmic-ray needs for HTML alone.
$(VENV)/.mutants: requirements-mutants.lock $(STAMP)
	$(BIN)/python -m pip install --quiet --require-hashes --no-deps --only-binary :all: -r $<
	@touch $@

.PHONY: lint
lint: install ## ruff: lint rules, and formatting as a check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

.PHONY: format
format: install ## ruff: mend what can be mended
	$(BIN)/ruff check --fix --exit-zero --quiet .
	$(BIN)/ruff format .

.PHONY: types
types: install ## pyright
	$(BIN)/pyright

.PHONY: arrows
arrows: install ## import-linter: which package may import which
	$(BIN)/lint-imports --no-logo

.PHONY: ci
ci: lint types arrows test test-slow test-pythons ## what CI runs

.PHONY: bench
bench: install ## benchmarks; alone on the machine, please
	$(BIN)/python -m benchmarks

.PHONY: lock
lock: $(VENV)/.uv ## pin again after a change of pyproject.toml; UPGRADE=1 takes newest versions
	$(UV) $(if $(UPGRADE),--upgrade) --extra test --extra png --extra board --extra cluster --group build \
	    pyproject.toml -o requirements.lock > /dev/null
	$(UV) $(if $(UPGRADE),--upgrade) --extra test --extra png --extra board --extra cluster --extra cuda12 --group build \
	    -c requirements.lock pyproject.toml -o requirements-cuda.lock > /dev/null
	$(UV) $(if $(UPGRADE),--upgrade) --group pyproject.toml:mutants -c requirements.lock \
	    --no-emit-package yattag -o requirements-mutants.lock > /dev/null

# uv only writes the locks, so it is in neither.
$(VENV)/.uv:
	@bash .ci/venv "$(VENV)" "$(PYTHON)"
	$(BIN)/python -m pip install --quiet uv
	@touch $@

.PHONY: clean
clean: ## remove the environment, caches and builds; stores and figures stay
	rm -rf $(VENV) .cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache build dist
	find $(CODE) -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
