# Needs Python 3.11 or newer with venv, and make; everything else is installed into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PACKAGES := fedshelf

.PHONY: setup demo test slow check settings docs

setup: $(VENV)/.ready

# Bytecode is compiled at once: it halves the start of every command. Before tests, that of what was changed.
$(VENV)/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Fedshelf needs Python 3.11 or newer; run make PYTHON=/path/to/it")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode --constraint constraints.txt --editable '.[dev]'
	$(BIN)/python -m compileall -q $(PACKAGES)
	@touch $@

demo: setup
	$(BIN)/flower-simulation run --dataset shelf --stores 10 --partition dirichlet:0.5 --rounds 10 --set run.name=demo

# Test processes share what pytest makes of the test files, also where the environment forbids bytecode.
test slow: export PYTHONDONTWRITEBYTECODE =

# Three at once on two cores: tests with processes of their own wait part of their time.
test: setup
	$(BIN)/python -m compileall -q $(PACKAGES)
	$(BIN)/python -m pytest -n 3

# A file stays in one process: its tests share a cluster or a run.
slow: setup
	$(BIN)/python -m compileall -q $(PACKAGES)
	$(BIN)/python -m pytest -m slow -n 3 --dist loadfile

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The schema, Flower's defaults in pyproject.toml and docs/reference/settings.md, from the settings that strategies declare;
# the pages of all commands and of Python, from their help and docstrings; and the notebooks, from their tutorials.
settings: setup
	$(BIN)/python .ci/generate_settings.py
	$(BIN)/python .ci/generate_commands.py
	$(BIN)/python .ci/generate_python.py
	$(BIN)/python .ci/generate_notebooks.py

# The documentation as a site, in site/index.html. Needs no network; a link that leads nowhere is an error.
docs: setup
	$(BIN)/python -m sphinx -q -W --keep-going docs site
