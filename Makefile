# Everything from a fresh clone: `make demo` and `make test` set up what they need first.
.DEFAULT_GOAL := help
# In the papers' order: a run that several tables share is made by, and in the W&B group of, the first of them.
TABLES := $(basename $(notdir $(foreach some,table? table?? table-*,$(sort $(wildcard acdc_cli/tables/published/$(some).yaml)))))
.PHONY: help setup demo test test-all test-quick lint clean tables $(TABLES)

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
FFCV := $(VENV)/.ffcv
# make table1 SCALE=small SEEDS=3: the papers' rows on the digits, by default with a process a core. ACTION=--plan lists
# the runs. RUN: key=value for all of them, such as RUN="hydra/launcher=submitit_slurm hydra.launcher.gpus_per_node=1".
SCALE ?= paper
SEEDS ?=
ACTION ?= --run
RUN ?= $(if $(filter small,$(SCALE)),hydra/launcher=joblib)
REPORT = $(BIN)/acdc-report $(ACTION) --scale $(SCALE) $(if $(SEEDS),--seeds $(SEEDS)) $(RUN)
# A file's tests stay in one process: they share what its fixtures make.
PARALLEL := -n auto --maxprocesses 8 --dist loadfile

help: ## this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'
	@for table in $(TABLES); do \
		sed -n "s/^title: *\"*\([^\"]*\)\"*$$/  make $$table \1/p" acdc_cli/tables/published/$$table.yaml; done

setup: $(INSTALLED) $(FFCV) ## install into .venv: the program, its dependencies, FFCV (about 7 GB, 2 to 5 minutes)

$(INSTALLED): setup.cfg pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "$(PYTHON) is older than 3.11; run make PYTHON=python3.11 or newer" >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV) || { \
		echo "no venv module; run: sudo apt-get install python3-venv" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

# Made only once FFCV can be imported: after installing what the script asked for, `make setup` tries again.
$(FFCV): $(INSTALLED) scripts/install_ffcv.sh
	@scripts/install_ffcv.sh $(BIN)/python
	@if $(BIN)/python -c 'import ffcv.loader' 2>/dev/null; then touch $@; fi

demo: setup ## train AC/DC at 90% on the embedded digits; about a minute on 2 cores
	$(BIN)/acdc-data prepare digits
	$(BIN)/acdc-train sparsity=0.9

$(TABLES): setup
	$(REPORT) $@

tables: setup ## all of the published tables below; SCALE=small: their rows on the digits, on any laptop
	$(REPORT) $(TABLES)

test: setup ## the test suite, a process a core
	$(BIN)/python -m pytest $(PARALLEL) -m "not exhaustive"

test-all: setup ## the test suite and what takes longer: whole zoos of networks, full products, installs
	$(BIN)/python -m pytest $(PARALLEL)

test-quick: setup ## the tests that take seconds
	$(BIN)/python -m pytest $(PARALLEL) -m "not slow and not exhaustive"

lint: setup ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean: ## remove .venv and build leftovers; keeps data/ and runs/
	rm -rf $(VENV) build dist *.egg-info
