# Each target does all of its own set-up: it needs python3 (3.11 or newer) and make, nothing else.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
# Where precision matters; tests take the processor for one without bf16 unless told otherwise (tests/conftest.py).
PRECISE = tests/evaluation/test_evaluate.py tests/report/test_report.py tests/training/test_monitors.py tests/training/test_training.py tests/search/test_search.py

.PHONY: help demo test mutation lint types imports audit clean

help:
	@echo "make demo    train on this machine's Python documentation and see what it was good for (5 to 8 minutes)"
	@echo "make test    lint, types and all tests"
	@echo "make mutation  change the losses and the statistics one thing at a time; the tests must notice (an hour or more)"
	@echo "make audit   look for known vulnerabilities in the pinned dependencies (asks a public database)"
	@echo "make clean   remove the virtual environments and everything the other targets made"

demo: $(VENV)/demo.installed
	$(BIN)/smoothcse demo --output demo

test: lint types imports
	$(BIN)/pytest -n 2 --max-worker-restart 0 --dist loadfile --no-loadscope-reorder --durations 40
	SMOOTHCSE_ASSUME_BF16=1 $(BIN)/pytest -n 2 --max-worker-restart 0 --dist loadfile $(PRECISE)

# Interrupted, it goes on where it was. One process, so that nothing fails for want of time or memory.
mutation: $(VENV)/mutation.installed
	OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 SMOOTHCSE_SHARED="$${SMOOTHCSE_SHARED:-$(abspath ../shared)}" \
		nice $(BIN)/mutmut run --max-children 1
	$(BIN)/python tests/mutation/report.py

lint: $(VENV)/dev.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/dev.installed
	$(BIN)/mypy

imports: $(VENV)/dev.installed
	$(BIN)/lint-imports

audit: $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check pip-audit
	$(BIN)/pip-audit --requirement constraints.txt --no-deps --disable-pip

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# A stamp per extra: pip runs again only when what it installs from has changed.
$(VENV)/%.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[$*]"
	@touch $@

clean:
	rm -rf $(VENV) demo mutants build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
