# One command each; what they do is in deploy/bootstrap.py and manage.py.
PYTHON ?= python3
VENV := .venv/bin/python
CACHE := $(CURDIR)/.cache
WORKERS ?= 2
TESTS := AI_HUB_MODELS="$${AI_HUB_MODELS:-$(CACHE)/models}"

.PHONY: help setup run tools models test e2e bench lint fmt

help:
	@echo "make run | test | setup | lint | fmt | bench | e2e"

setup:
	@$(PYTHON) deploy/bootstrap.py

run: setup
	@exec $(VENV) manage.py runhub

tools:
	@$(PYTHON) deploy/bootstrap.py --with-tests

models: tools
	@AI_HUB_DATA="$(CACHE)/data" $(TESTS) $(VENV) manage.py fetch_models --all

test: models
	@$(TESTS) $(VENV) -m tests -n $(WORKERS) --dist loadgroup

e2e: models
	@$(TESTS) $(VENV) -m pytest tests/e2e

bench: models
	@$(TESTS) $(VENV) -m tests.bench

lint: tools
	@$(VENV) -m ruff format --check .
	@$(VENV) -m ruff check .
	@$(VENV) -m mypy .
	@.venv/bin/lint-imports
	@$(VENV) -m djlint --quiet --lint templates

fmt: tools
	@$(VENV) -m ruff format .
	@$(VENV) -m ruff check --fix .
