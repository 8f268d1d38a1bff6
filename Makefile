# Each target does all of its own set-up: it needs python3 (3.11 or newer) and make, nothing else.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
# The files with tests marked bf16. These run twice: without bf16 (tests/conftest.py) and with it.
PRECISE = tests/training/test_monitors.py tests/search/test_search.py
# A small selection that trains, evaluates, encodes and reads each kind of file: for other versions and installations.
SMOKE = tests/objectives tests/corpus/test_readers.py tests/encoders/test_build.py tests/evaluation/test_sts.py tests/methods/test_loss.py tests/views/test_views.py tests/training/test_determinism.py

.PHONY: help demo test pytest bf16 lint types imports docs coverage lowest wheel container mutation gpu audit paper clean

help:
	@echo "make demo      adapt an encoder to the documentation of this machine's Python and score it"
	@echo "make test      lint, types, imports, documentation and all tests"
	@echo "make pytest    all tests, without bf16"
	@echo "make bf16      those tests that compute in bf16 where the hardware has it, with it"
	@echo "make docs      build the documentation site in site/; a broken link is an error"
	@echo "make paper     build the technical report, build/smoothing.pdf, from the committed runs"
	@echo "make coverage  the tests with line coverage, which must stay above the floor in pyproject.toml"
	@echo "make lowest    a selection of the tests with the lowest versions that pyproject.toml allows"
	@echo "make wheel     build the wheel, install it elsewhere, and use the command and the library"
	@echo "make container do the steps of the Dockerfile in a virtual environment: install, serve, search"
	@echo "make mutation  mutation testing of the losses and the statistics (an hour or more)"
	@echo "make gpu       on a CUDA device, at most 10 minutes: its tests, training steps, candidates, encoding"
	@echo "make audit     look for known vulnerabilities in the pinned dependencies (needs the network)"
	@echo "make clean     remove the virtual environments and everything that the other targets made"

demo: $(VENV)/demo.installed
	$(BIN)/smoothcse demo --output demo

test:
	$(MAKE) --jobs 2 bf16 types docs lint imports
	$(MAKE) pytest

pytest: $(VENV)/dev.installed
	$(BIN)/pytest -n 2 --max-worker-restart 0 --dist loadfile --no-loadscope-reorder --durations 40

bf16: $(VENV)/dev.installed
	SMOOTHCSE_ASSUME_BF16=1 $(BIN)/pytest -m bf16 $(PRECISE)

lint: $(VENV)/dev.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/dev.installed
	$(BIN)/mypy

imports: $(VENV)/dev.installed
	$(BIN)/lint-imports

docs: $(VENV)/dev.installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

paper: $(VENV)/paper.installed
	$(BIN)/python docs/paper/build.py build/smoothing.pdf

coverage: $(VENV)/dev.installed
	$(BIN)/pytest -n 2 --max-worker-restart 0 --dist loadfile --no-loadscope-reorder --cov

# A virtual environment of its own. Each of our direct dependencies has its lowest version, the others the newest that fit.
lowest: pyproject.toml
	$(PYTHON) -m venv $(VENV)-lowest
	$(PYTHON) tests/project/lowest_versions.py > $(VENV)-lowest/constraints.txt
	$(VENV)-lowest/bin/python -m pip install --quiet --disable-pip-version-check -c $(VENV)-lowest/constraints.txt -e ".[demo]" pytest pytest-timeout hypothesis
	$(VENV)-lowest/bin/smoothcse train --help > /dev/null
	$(VENV)-lowest/bin/pytest -p no:cacheprovider -m "not slow" $(SMOKE)

# Built in a virtual environment, installed from the file into another one, and used in a folder outside the repository.
wheel:
	rm -rf dist $(VENV)-wheel
	$(PYTHON) -m venv $(VENV)-wheel
	$(VENV)-wheel/bin/python -m pip install --quiet --disable-pip-version-check build
	$(VENV)-wheel/bin/python -m build --outdir dist
	rm -rf $(VENV)-wheel
	$(PYTHON) -m venv $(VENV)-wheel
	$(VENV)-wheel/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt dist/*.whl
	cd $$(mktemp -d) && $(abspath $(VENV)-wheel)/bin/python $(abspath tests/project/installed_wheel.py)

# CONTAINER="--python .venv/bin/python" installs nothing; see tests/project/container_steps.py.
container:
	$(PYTHON) tests/project/container_steps.py $(CONTAINER)

# Interrupted, it continues where it stopped. One process, so that nothing fails for lack of time or memory.
mutation: $(VENV)/mutation.installed
	OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 SMOOTHCSE_SHARED="$${SMOOTHCSE_SHARED:-$(abspath ../shared)}" \
		nice $(BIN)/mutmut run --max-children 1
	$(BIN)/python tests/mutation/report.py

# GPU="--minutes 5 --parts tests steps" chooses; see benchmarks/gpu.py.
gpu: $(VENV)/dev.installed
	$(BIN)/python benchmarks/gpu.py $(GPU)

audit: $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check pip-audit
	$(BIN)/pip-audit --requirement constraints.txt --no-deps --disable-pip

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# A stamp per extra: pip runs again only when what it installs from has changed. Of the 32,000 files that it installs,
# Python compiles those that are imported when they are first imported, unless it must not write.
unexport PYTHONDONTWRITEBYTECODE
$(VENV)/%.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt -e ".[$*]"
	@touch $@

clean:
	rm -rf $(VENV) $(VENV)-lowest $(VENV)-wheel demo mutants build dist site .coverage .pytest_cache .mypy_cache .ruff_cache .hypothesis
