# Two commands do everything on a fresh machine: `make run` and `make test`.
# Every other target is for those who change the code.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help run test check format generated soak bench lock clean image

help:  ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

run: $(VENV)/.runtime  ## the demo: a local Slack in the browser, a supervised process, SOMAS projects
	$(BIN)/opsbot demo

test: $(VENV)/.development  ## every test
	$(BIN)/pytest -n 2 --dist loadgroup

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

soak: $(VENV)/.development  ## the long crash tests: the process is killed at every commit of a run
	$(BIN)/pytest -m crash --crash-points all

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
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis test-artifacts dist
