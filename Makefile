# roambridge: every command a newcomer needs. `make help` explains them.
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo test fuzz check format bench chaos soak quirks lock clean

help: ## what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 18

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else "roambridge needs Python 3.11, 3.12 or 3.13; this is %d.%d (make PYTHON=python3.12 ...)" % v)'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) from requirements.lock ..."
	@$(BIN)/pip install --quiet --no-deps --require-hashes -r requirements.lock
	@$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $(STAMP)

install: $(STAMP) ## .venv from the lock file, with .venv/bin/roambridge

demo: $(STAMP) ## one roaming story with real sockets and HTTP, then the addresses to look at (ONCE=1 exits)
	@$(BIN)/python -m ocpi_bridge.demo $(if $(ONCE),--once)

test: $(STAMP) ## the tests, on as many cores as there are (PostgreSQL ones run where a server or its binaries are found)
	@$(BIN)/python -m pytest --numprocesses=auto --maxprocesses=4 --dist=worksteal $(if $(ARGS),$(ARGS),-m "not alone")
	@# Only the files that have some: to collect all of them again takes longer than these take.
	@$(if $(ARGS),:,$(BIN)/python -m pytest -m alone $(shell grep -rl --include=test_*.py "mark\.alone" tests))

fuzz: $(STAMP) ## the tests that make up their own cases, on many more of them than `make test` does
	@ROAMBRIDGE_TEST_TARIFFS=20000 ROAMBRIDGE_TEST_FUZZ=2000 ROAMBRIDGE_TEST_API=20 $(BIN)/python -m pytest --timeout=3600 \
	  --numprocesses=auto --maxprocesses=4 --dist=worksteal tests/csms/billing/test_naive_calculator.py \
	  tests/paths/test_fuzz_frames.py tests/ocpi_bridge/api/test_api_fuzz.py

check: $(STAMP) ## style, types and import contracts
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(STAMP) ## rewrite the code in the house style
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: $(STAMP) ## each performance target and what is reached, on both databases (ARGS=--quick, ARGS="--help")
	@$(BIN)/python -m tests.bench $(ARGS)

chaos: $(STAMP) ## everything breaks, again and again, beneath a fleet that charges (ARGS="--minutes 10 --seed 1")
	@$(BIN)/python -m tests.chaos $(ARGS)

soak: $(STAMP) ## the service under a fleet, and whether its memory grows (ARGS="--minutes 60")
	@$(BIN)/python -m tests.bench.soak $(ARGS)

quirks: $(STAMP) ## docs/vendor-quirks.md from the entries
	@$(BIN)/python -m csms.gateway.quirks.page > docs/vendor-quirks.md

lock: ## pin everything again (needs uv on the path)
	uv pip compile pyproject.toml --group dev --universal --generate-hashes --no-emit-index-url --no-emit-find-links \
	  --custom-compile-command "make lock" -o requirements.lock

clean: ## remove what the other commands made
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
