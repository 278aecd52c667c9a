# Two commands: `make reproduce` shows everything, `make test` proves it. Each sets itself up.
# Needs Python 3.11-3.13 and make. PYTHON chooses the interpreter.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/ready
PIP    := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: help setup reproduce test lab site clean
.DELETE_ON_ERROR:

help:
	@echo "make reproduce   set up, execute all notebooks (laptop profile), rebuild figures/, print the scorecard"
	@echo "make test        set up, run every test, the notebooks in the smoke profile included"
	@echo "make lab         set up, open JupyterLab on the notebooks"
	@echo "make site        set up, build the web site in build/site: README, docs, notebooks, API"
	@echo "make clean       remove the virtual environment and generated files (not data sets)"

setup: $(READY)

# Rebuilt only when the requirements change, so a second make starts within seconds.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; ok = (3, 11) <= v <= (3, 13); sys.exit(None if ok else f"saa_lite needs Python 3.11 to 3.13; {sys.executable} is {v[0]}.{v[1]}. Choose another: make PYTHON=python3.12")'
	@echo "==> virtual environment in $(VENV)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "==> pinned packages (about 6 GB the first time, most of it torch's CUDA libraries)"
	$(PIP) install --quiet --progress-bar on --constraint constraints.txt --editable ".[notebooks,test,deploy]"
	@touch $@

reproduce: $(READY)
	$(BIN)/saa-lite reproduce --profile laptop

test: $(READY)
	@echo "==> lint, format, spelling, floors"
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/lint-imports
	@echo "==> types, beside what follows (a minute the first time; what they say comes last)"
	@echo "==> tests (notebooks in the smoke profile included; what cannot run here is listed at the end)"
	@mkdir -p build; $(BIN)/mypy > build/types.txt 2>&1 & types=$$!; trap 'kill $$types' INT TERM; \
	$(BIN)/python -m pytest --durations=15 --numprocesses logical --maxprocesses 4 --dist worksteal; \
	tests=$$?; wait $$types; types=$$?; \
	echo "==> types"; cat build/types.txt; \
	test $$tests = 0 -a $$types = 0 || { echo "==> failed: pytest $$tests, mypy $$types"; exit 1; }

# JupyterLab refuses to run as root, which is who one is in most containers, unless told to.
AS_ROOT := $(if $(filter 0,$(shell id -u)),--allow-root)

# Kernels that import torch before saa_lite find in JupyterLab's environment how its threads wait.
LAB := import saa_lite; from jupyterlab.labapp import main; main()

lab: $(READY)
	$(BIN)/python -c '$(LAB)' $(AS_ROOT) notebooks/00_start_here.ipynb

site: $(READY)
	$(PIP) install --quiet --constraint constraints.txt --editable ".[site]"
	$(BIN)/python site/build.py

clean:
	rm -rf $(VENV) build data/runs data/cache test-artifacts .mypy_cache .ruff_cache .pytest_cache .hypothesis
