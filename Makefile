# Every target makes the virtual environment it needs from a committed lock: nothing is installed by hand.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help run test chaos lint format bench lighthouse lock vendor translations clean

help: ## Say what can be made
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

run: $(VENV)/.run ## Start all of Golub on this machine, with demo data and a local inbox
	@$(BIN)/python -m dev.run

test: $(VENV)/.test ## Lint, check types and layers, and run all tests on SQLite and on PostgreSQL
	@$(BIN)/python -m dev.test

chaos: $(VENV)/.test ## Kill, stop and starve everything while it sends, on SQLite and on PostgreSQL
	@failed=0; for database in sqlite postgresql; do \
		$(BIN)/python -m pytest tests/chaos --chaos-full --database $$database || failed=1; done; exit $$failed

lint: $(VENV)/.test ## Lint, check types and layers
	@$(BIN)/python -m dev.test --lint

format: $(VENV)/.test ## Let ruff mend what it can
	@$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

bench: $(VENV)/.test ## Measure the figures of docs/performance.md
	@$(BIN)/python -m bench

lighthouse: $(VENV)/.test ## Measure the public pages with Lighthouse (needs npm and Chromium)
	@$(BIN)/python -m dev.lighthouse

$(VENV)/.run: requirements/run.lock
	@sh dev/install.sh $(PYTHON) $(VENV) $<
	@touch $@

$(VENV)/.test: requirements/test.lock
	@sh dev/install.sh $(PYTHON) $(VENV) $<
	@touch $@ $(VENV)/.run

lock: $(VENV)/.test ## Resolve newer versions of the dependencies into requirements/
	@sh dev/lock.sh $(BIN)/python

vendor: ## Fetch the scripts and styles of app/static/vendor again (needs npm)
	@$(PYTHON) -m dev.vendor

translations: $(VENV)/.test ## Collect new strings for the translators and compile the catalogues
	@sh dev/translations.sh $(BIN)

clean: ## Remove the virtual environment and caches, never the data in instance/
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
