PYTHON ?= .venv/bin/python

.PHONY: check lint types test test-slow format mutants docs

check: lint types test test-slow  ## what CI runs

lint:
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .

types:
	$(PYTHON) -m mypy

test:
	$(PYTHON) -m pytest -n auto

test-slow:
	$(PYTHON) -m pytest -n auto -m slow

format:
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

mutants:  ## which one-line faults the tests catch; about 20 minutes
	$(PYTHON) tests/mutants.py

docs:  ## build/docs/rlsuite.html, from the docstrings
	$(PYTHON) -m pdoc --docformat google -o build/docs rlsuite
