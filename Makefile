# Two commands: `make run` and `make test`. Everything they need goes into .venv; nothing else is touched.
# As root on Debian, `make test` also installs what some tests need from Debian's packages.

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
DEBIAN_POSTGRES := /usr/lib/postgresql/15/bin
# Tests that talk to a database; they run on Debian's PostgreSQL 15 too.
DATABASE_TESTS := $(wildcard tests/migration tests/store tests/property tests/interactions tests/jobs tests/faults tests/server)

.PHONY: run test nightly check format bench lock clean

run: $(VENV)/.run-installed
	@$(VENV)/bin/fhirhub import --demo
	@$(VENV)/bin/fhirhub serve $(ARGS)

test: $(VENV)/.test-installed
	@sh tests/prepare.sh
	$(VENV)/bin/python -m pytest $(ARGS)
	@if [ -x $(DEBIAN_POSTGRES)/postgres ]; then \
	  echo "== Once more on Debian's PostgreSQL 15"; \
	  $(VENV)/bin/python -m pytest -q --postgres-bin $(DEBIAN_POSTGRES) $(DATABASE_TESTS); \
	else \
	  echo "!! NOT RUN on PostgreSQL 15: there is none in $(DEBIAN_POSTGRES) (Debian: apt-get install postgresql-15)"; \
	fi

# What takes a night rather than a minute: 25,000 random searches of 100 random worlds against the predicates in memory,
# 100,000 criteria against a plain reading of the specification, 1,001 walks through pages while others write; 1,000
# people and 200 apps cut off while both workers are asked, 10,000 calls matched with the trail while workers are killed.
# Another night, other worlds: make nightly FIRST=$$(date +%j)00
FIRST ?= 1000
nightly: $(VENV)/.test-installed
	FHIRHUB_PROPERTY_FIRST=$(FIRST) FHIRHUB_PROPERTY_WORLDS=100 FHIRHUB_PROPERTY_WALKS=77 \
	  $(VENV)/bin/python -m pytest tests/property tests/store/test_paging.py $(ARGS)
	FAULT_CUTS=1000,200 FAULT_CALLS=10000 \
	  $(VENV)/bin/python -m pytest tests/faults/test_deactivation.py tests/faults/test_audit_complete.py $(ARGS)

check: $(VENV)/.test-installed
	$(VENV)/bin/ruff format --check src tests migrations
	$(VENV)/bin/ruff check src tests migrations
	$(VENV)/bin/mypy
	$(VENV)/bin/python -m pytest -q tests/unit/test_ladder.py

format: $(VENV)/.test-installed
	$(VENV)/bin/ruff format src tests migrations
	$(VENV)/bin/ruff check --fix src tests migrations

bench: $(VENV)/.test-installed
	$(VENV)/bin/python -m bench $(ARGS)

# The exact versions, with hashes, that everybody installs.
lock: $(VENV)/.test-installed
	$(VENV)/bin/pip install -q uv
	$(VENV)/bin/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	  --extra fast pyproject.toml -o requirements/run.txt
	$(VENV)/bin/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	  --extra test --extra dev -c requirements/run.txt pyproject.toml -o requirements/test.txt

clean:
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .mypy_cache .hypothesis

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "fhirhub needs Python 3.11 or newer; name one with: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run-installed: requirements/run.txt pyproject.toml | $(VENV)/bin/python
	@echo "Installing into $(VENV) …"
	@$(VENV)/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/run.txt
	@$(VENV)/bin/python -m pip install -q --disable-pip-version-check --no-deps -e .
	@touch $@

$(VENV)/.test-installed: requirements/test.txt $(VENV)/.run-installed
	@$(VENV)/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/test.txt
	@touch $@
