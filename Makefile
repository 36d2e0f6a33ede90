# Two commands: `make reproduce` sets up and runs rows, `make test` sets up and tests. Everything else is for developers.
ROW ?= inspo/*
GATE ?= inspo/*
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: reproduce test test-slow lint gate bench docs clean

# Runs the row or glob, then writes the report whatever the verdict; exits with the verdict's code.
reproduce: $(READY)
	@status=0; $(BIN)/reproduce '$(ROW)' || status=$$?; $(BIN)/reproduce report; exit $$status

test: $(READY)
	$(BIN)/pytest -n auto -m 'not slow'

# Kills and resumes, launchers, queues, the compiler, a new algorithm in a copy of the checkout.
test-slow: $(READY)
	$(BIN)/pytest -n auto -m slow

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

gate: $(READY)
	$(BIN)/reproduce gate '$(GATE)'

bench: $(READY)
	$(BIN)/python benchmarks

# The documentation site, into outputs/site; a number that no record holds ends the build. The variables mute advertising.
docs: $(READY)
	NO_MKDOCS_2_WARNING=1 DISABLE_MKDOCS_2_WARNING=true $(BIN)/mkdocs build --strict

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -r requirements.lock
	$(BIN)/pip install --quiet --no-deps -e .
	touch $(READY)

clean:
	rm -rf $(VENV) outputs build *.egg-info
