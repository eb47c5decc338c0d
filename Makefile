# Two commands matter: `make demo` (no torch) and `make test` (everything).
SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c
PYTHON ?= python3
# One line per package as it arrives, so that nobody stares at a silent screen.
PIP_PROGRESS := awk '/^(Collecting|Installing|Building|ERROR)/ { print "  " substr($$0, 1, 100); fflush() }'
VENV := .venv
DEV := .venv-dev
.DEFAULT_GOAL := help
.PHONY: help demo test test-slow check format clean

help:
	@echo "make demo         render an unseen town, build its gallery, serve it, locate two photos"
	@echo "make demo ONCE=1  the same, then stop"
	@echo "make test         lint, types, import rules and all tests (installs torch and timm)"
	@echo "make test-slow    the tests that take minutes"
	@echo "make check        lint, types and import rules only"

# The stamp depends on pyproject.toml: a changed dependency installs again, nothing else does.
$(VENV)/.installed: pyproject.toml
	@echo "installing into $(VENV) (no torch) ..."
	@test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/python -m pip install --disable-pip-version-check -e ".[demo]" | $(PIP_PROGRESS)
	@touch $@

$(DEV)/.installed: pyproject.toml
	@echo "installing into $(DEV) (torch and timm included, some gigabytes) ..."
	@test -x $(DEV)/bin/python || $(PYTHON) -m venv $(DEV)
	@$(DEV)/bin/python -m pip install --disable-pip-version-check -e ".[dev]" | $(PIP_PROGRESS)
	@touch $@

demo: $(VENV)/.installed
	@$(VENV)/bin/python -m demo $(if $(ONCE),--once)

check: $(DEV)/.installed
	$(DEV)/bin/ruff check .
	$(DEV)/bin/ruff format --check .
	$(DEV)/bin/mypy
	$(DEV)/bin/lint-imports

test: check
	$(DEV)/bin/python -m pytest

test-slow: $(DEV)/.installed
	$(DEV)/bin/python -m pytest -m slow

format: $(DEV)/.installed
	$(DEV)/bin/ruff check --fix .
	$(DEV)/bin/ruff format .

clean:
	rm -rf $(VENV) $(DEV) demo/out
