# Everything here needs Python 3.11 or newer, pip and make; it brings the rest along.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DATA ?= .data

# Tests with services as processes, which keep two cores busy: last those that share a whole stack, which
# takes its part at rest as well.  And the others, two files at a time, in their order, so that the
# long ones do not come last.
WHOLE := tests/crash tests/foreign tests/e2e tests/browser
PARTS := --numprocesses 2 --dist loadfile --no-loadscope-reorder \
	tests/integration tests/mutation tests/contract tests/unit services shared

.DEFAULT_GOAL := help
.PHONY: help run demo test unit soak bench lint format lock contracts k8s-check screenshots clean

help:  ## show this list
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /  make \1|/' | column -t -s '|'

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Gallra needs Python 3.11 or newer; set PYTHON=/path/to/python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --require-hashes --no-deps -r bootstrap.lock
	$(BIN)/uv pip sync --quiet --require-hashes --compile-bytecode --python $(BIN)/python requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

run: $(READY)  ## start everything on this machine; Ctrl-C stops it
	$(BIN)/gallra up --data $(DATA)

demo: $(READY)  ## try it: a simulated platform against the running stack
	$(BIN)/gallra demo --data $(DATA)

test: $(READY)  ## all tests, on real brokers, databases and mail servers
	$(BIN)/pytest $(WHOLE)
	$(BIN)/pytest $(PARTS)

unit: $(READY)  ## the tests that need no service
	$(BIN)/pytest tests/unit tests/contract shared services

soak: $(READY)  ## an hour: 10,000 interleavings of holds and crashes; a million records; twenty years of 100,000
	GALLRA_INTERLEAVINGS=10000 $(BIN)/pytest tests/integration/test_holds_machine.py
	GALLRA_RECORDS=1000000 $(BIN)/pytest tests/integration/test_million.py
	GALLRA_RECORDS=100000 $(BIN)/pytest tests/integration/test_twenty_years.py

bench: bench-sequencing bench-latency bench-append bench-growth bench-keys bench-purging bench-registering bench-mailing bench-ledger bench-pages  ## two hours: writes docs/benchmarks.md

bench-keys bench-purging bench-registering: bench-%: $(READY)
	$(BIN)/python -m bench.retention $*

bench-mailing bench-ledger: bench-%: $(READY)
	$(BIN)/python -m bench.notifier $*

bench-pages: $(READY)
	$(BIN)/python -m bench.console pages

bench-%: $(READY)
	$(BIN)/python -m bench.audit_log $*

lint: $(READY)  ## format, lint, types, import contracts
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/pyright
	$(BIN)/lint-imports

format: $(READY)  ## rewrite the code in our format
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

contracts: $(READY)  ## write docs/schemas and docs/asyncapi.json from the event catalogue
	$(BIN)/gallra contracts docs

k8s-check: $(READY)  ## build the manifests and validate them offline
	$(BIN)/python deploy/k8s/check.py

screenshots: $(READY)  ## write docs/screenshots, of a running stack after the demo; needs chromium
	$(BIN)/python -m tests.browser.screenshots $(DATA)

lock: $(READY)  ## pin the newest versions that pyproject.toml allows
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --extra local --group dev pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --constraints requirements.lock pyproject.toml -o requirements-runtime.lock
	grep -A99 '^uv==' requirements.lock | sed '/^    # via/,$$d' > bootstrap.lock

clean:  ## forget the environment and the local stack's data
	rm -rf $(VENV) $(DATA)
