# Two commands do everything on a fresh machine: `make run` and `make test`.
# Every other target is for those who change the code.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# of make soak
RUNS ?= 100
KILLS ?= 25
SEED ?= 4

.PHONY: help run test check format generated real-supervisor soak bench lock clean image

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

run: $(VENV)/.runtime  ## the demo: a local Slack in the browser, a supervised process, SOMAS projects
	$(BIN)/opsbot demo

test: $(VENV)/.development real-supervisor  ## every test
	$(BIN)/pytest -n 2 --dist loadgroup

# Three minutes once, then nothing: without cargo or its registry it says so and the tests name what they skip.
real-supervisor: $(VENV)/.development  ## build the published supervisor and relay that the tests drive
	$(BIN)/python -m tests.real_supervisor.build

check: $(VENV)/.development  ## format, lint, types, import rules, generated files, runbooks
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/opsbot commands --check
	$(BIN)/opsbot runbook check

format: $(VENV)/.development  ## format the code and make the generated files anew
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/opsbot commands --write

soak: $(VENV)/.development  ## the long crash tests: kill -9 at every commit of a run, and 100 runs in chaos
	$(BIN)/pytest -m crash -s --crash-points all --chaos-runs $(RUNS) --chaos-kills $(KILLS) --chaos-seed $(SEED)

bench: $(VENV)/.development  ## the benchmarks, each beside its peers
	for file in benchmarks/*.py; do $(BIN)/python $$file || exit 1; done

# The steps of the image are the steps of `make run`: docker/install.sh is called by both.
$(VENV)/.runtime: requirements.lock docker/install.sh pyproject.toml
	PYTHON=$(PYTHON) sh docker/install.sh $(VENV) requirements.lock editable
	@touch $@

$(VENV)/.development: requirements-dev.lock docker/install.sh pyproject.toml
	PYTHON=$(PYTHON) sh docker/install.sh $(VENV) requirements-dev.lock editable
	@touch $@ $(VENV)/.runtime

lock:  ## resolve the dependencies anew
	$(PYTHON) -m venv $(VENV)-lock && $(VENV)-lock/bin/pip install --quiet uv
	$(VENV)-lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --no-header --group pyproject.toml:build pyproject.toml -o requirements.lock
	$(VENV)-lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --no-header --group pyproject.toml:build --group pyproject.toml:dev pyproject.toml -o requirements-dev.lock
	rm -rf $(VENV)-lock

image:  ## build the container image
	docker build -t opsbot .

clean:  ## remove everything that was made
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis test-artifacts dist
