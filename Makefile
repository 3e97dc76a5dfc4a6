# make demo and make test do all set-up themselves; every target may be run from any state, also twice.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PROGRESS := deployments/with_progress.sh
# For a CPU-only torch where the index offers one, e.g. make demo TORCH_ARGS="--index-url <URL of the CPU wheels>"
TORCH_ARGS ?=
CLEAN_ARGS ?=
HOME_FOLDER := $(or $(SEGWATCH_HOME),.segwatch)

.PHONY: demo test lint stop clean setup system train train-tiny fmt

demo: setup
	$(BIN)/segwatch demo

# three at a time on two cores: much of what they do is waiting; folders that share a stack stay together
test: setup chromium
	$(BIN)/pytest -n 3

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fmt: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# without the virtual environment nothing can be stopped, and what runs would go on unseen
stop:
	@if [ ! -e "$(HOME_FOLDER)" ]; then echo "nothing was running"; else $(MAKE) --no-print-directory setup && $(BIN)/segwatch stop; fi

# says what it removes, and asks where somebody can answer; make clean CLEAN_ARGS=--yes does not ask
clean:
	@if [ ! -e "$(HOME_FOLDER)" ]; then echo "nothing to remove: there is no $(HOME_FOLDER)"; else $(MAKE) --no-print-directory setup && $(BIN)/segwatch clean $(CLEAN_ARGS); fi

bench-%: setup
	$(BIN)/segwatch-bench $*

# hours, at low priority; stopped or killed and repeated, it goes on where it was. TRAINING_DATA is the folder of the
# labelled sets or an archive that python -m segwatch.model.train.archive made of them
TRAINING_DATA ?= training-data
TRAINED = $(HOME)/.cache/segwatch/default/model

train: setup
	$(BIN)/segwatch model train model/train/recipes/default.toml --set data.root=$(TRAINING_DATA)
	$(BIN)/segwatch model train model/train/recipes/default-instruct.toml --set data.root=$(TRAINING_DATA)
	$(BIN)/python -m segwatch.model.train.calibrate --model $(TRAINED) --data $(TRAINING_DATA)
	$(BIN)/python -m segwatch.model.judge --model $(TRAINED) --data $(TRAINING_DATA) --out $(TRAINED)

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
	@echo "Setting up $(VENV), once: some minutes and 1.5 to 6 GB, by the build of torch"
	@$(PROGRESS) "virtual environment" $(PYTHON) -m venv $(VENV)
	@$(PROGRESS) "pip" $(BIN)/pip install --quiet --upgrade pip
	@$(PROGRESS) "torch" $(BIN)/pip install --quiet -c constraints.txt $(TORCH_ARGS) torch
	@$(PROGRESS) "segwatch and what it needs" $(BIN)/pip install --quiet -c constraints.txt -e '.[model,serve,stac,train,aws,dev]'
	@touch $@

.PHONY: chromium

# the site: writes the generated pages anew from the code, builds build/site, and fails on any broken link
.PHONY: docs
docs: setup
	$(BIN)/python -m docs.generate
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build
