# Two commands matter: `make demo` (no torch) and `make test` (everything).
SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c
PYTHON ?= python3
# One line per package as it arrives, so that nobody stares at a silent screen.
PIP_PROGRESS := awk '/^(Collecting|Installing|Building|ERROR)/ { print "  " substr($$0, 1, 100); fflush() }'
VENV := .venv
DEV := .venv-dev
RELEASE := .venv-release
# The versions that were tested; CONSTRAINTS= (empty) takes the newest that pyproject.toml allows.
CONSTRAINTS ?= constraints
pinned = $(if $(CONSTRAINTS),-c $(CONSTRAINTS)/$(1).txt)
.DEFAULT_GOAL := help
.PHONY: help demo test test-slow check format clean constraints sbom licences audit

help:
	@echo "make demo         render an unseen town, build its gallery, serve it, locate two photos"
	@echo "make demo ONCE=1  the same, then stop"
	@echo "make test         lint, types, import rules and all tests (installs torch and timm)"
	@echo "make test-slow    the tests that take minutes"
	@echo "make check        lint, types and import rules only"
	@echo "make constraints  resolve constraints/*.txt anew (PACKAGE=name for one package only)"
	@echo "make sbom         constraints/*.txt -> sbom/*.cdx.json and THIRD_PARTY_LICENCES.md"
	@echo "make licences     sbom/*.cdx.json -> THIRD_PARTY_LICENCES.md, checked against the policy"
	@echo "make audit        known vulnerabilities of the pinned versions (needs the internet)"

# The stamps: a changed dependency or pin installs again, nothing else does.
$(VENV)/.installed: pyproject.toml constraints/demo.txt
	@echo "installing into $(VENV) (no torch) ..."
	@test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/python -m pip install --disable-pip-version-check -e ".[demo]" $(call pinned,demo) | $(PIP_PROGRESS)
	@touch $@

$(DEV)/.installed: pyproject.toml constraints/dev.txt
	@echo "installing into $(DEV) (torch and timm included, some gigabytes) ..."
	@test -x $(DEV)/bin/python || $(PYTHON) -m venv $(DEV)
	@$(DEV)/bin/python -m pip install --disable-pip-version-check -e ".[dev]" $(call pinned,dev) | $(PIP_PROGRESS)
	@touch $@

$(RELEASE)/.installed: pyproject.toml constraints/dev.txt
	@echo "installing into $(RELEASE) (tools of a release) ..."
	@test -x $(RELEASE)/bin/python || $(PYTHON) -m venv $(RELEASE)
	@$(RELEASE)/bin/python -m pip install --disable-pip-version-check -U -e ".[release]" $(call pinned,dev) | $(PIP_PROGRESS)
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

constraints: $(RELEASE)/.installed
	@$(RELEASE)/bin/python -m deploy.supply_chain constraints $(if $(PACKAGE),--upgrade-package $(PACKAGE),--upgrade)

sbom: $(RELEASE)/.installed
	@$(RELEASE)/bin/python -m deploy.supply_chain sbom
	@$(RELEASE)/bin/python -m deploy.supply_chain licences

licences: $(RELEASE)/.installed
	@$(RELEASE)/bin/python -m deploy.supply_chain licences

audit: $(RELEASE)/.installed
	@$(RELEASE)/bin/python -m deploy.supply_chain audit

clean:
	rm -rf $(VENV) $(DEV) $(RELEASE) demo/out
