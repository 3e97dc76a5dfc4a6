# make demo and make test do all set-up themselves; every target may be run from any state, also twice.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# For a CPU-only torch where the index offers one, e.g. make demo TORCH_ARGS="--index-url <URL of the CPU wheels>"
TORCH_ARGS ?=

.PHONY: demo test lint stop clean setup system train-tiny fmt

demo: setup
	$(BIN)/segwatch demo

# two at a time: one has the stack of the acceptance tests, the other all else
test: setup chromium
	$(BIN)/pytest -n 2

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fmt: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

stop:
	@if [ -x $(BIN)/segwatch ]; then $(BIN)/segwatch stop; else echo "nothing was running"; fi

clean: stop
	@if [ -x $(BIN)/segwatch ]; then $(BIN)/segwatch db destroy --yes; fi
	rm -rf .segwatch

bench-%: setup
	$(BIN)/segwatch-bench $*

train-tiny: setup
	$(BIN)/segwatch model train model/train/recipes/tiny-first.toml
	$(BIN)/segwatch model train model/train/recipes/tiny-second.toml
	$(BIN)/segwatch model train model/train/recipes/tiny.toml

setup: system $(VENV)/.ready

system:
	@deployments/install_system.sh postgis

chromium:
	@deployments/install_system.sh chromium

$(VENV)/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; set PYTHON=/path/to/python3"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet -c constraints.txt $(TORCH_ARGS) torch
	$(BIN)/pip install --quiet -c constraints.txt -e '.[model,serve,stac,train,aws,dev]'
	@touch $@

.PHONY: chromium
