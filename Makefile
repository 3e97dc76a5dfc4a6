# Each target does its own set-up and may be repeated. The targets:
#
#   make demo         start every service, run the main job on real imagery, print where to look
#   make test         run the test suite
#   make lint         check style, types, import contracts and dependencies
#   make fmt          format the code
#   make stop         stop what the demo started; its data stays
#   make clean        stop it and delete its data, after listing what goes
#   make bench-NAME   run one benchmark: model, tracking, imagery, alerts, export, sql, web, pipeline or simulation
#   make train        train the default model (hours); make train-tiny: the small model that ships with the product
#   make fuzz         feed damaged documents to every parser that reads from outside; FUZZ_ARGS="--inputs 20000"
#   make sbom         write build/sbom.json: the packages of the virtual environment with versions and licences (CycloneDX)
#   make audit        look up known vulnerabilities of the pinned packages; needs the network
#   make page         build the map from flows/web/page into flows/web/static (needs Node 20 and npm)
#   make setup        only install what the others need
#
# Variables: PYTHON, SEGWATCH_HOME, TORCH_ARGS, CLEAN_ARGS, FUZZ_ARGS, TRAINING_DATA; each is explained where it is set.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PROGRESS := deployments/with_progress.sh
# options for installing torch; a CPU build is smaller: make demo TORCH_ARGS="--index-url https://download.pytorch.org/whl/cpu"
TORCH_ARGS ?=
# make clean CLEAN_ARGS=--yes deletes without asking
CLEAN_ARGS ?=
HOME_FOLDER := $(or $(SEGWATCH_HOME),.segwatch)

.PHONY: demo test lint stop clean setup system train train-tiny fmt

demo: setup
	$(BIN)/segwatch demo

# three processes on two cores, because many tests wait; tests that share fixtures stay in one process
test: setup chromium
	$(BIN)/pytest -n 3

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry .
	$(BIN)/deptry --ignore DEP002,DEP004 --exclude '$(VENV)' tests
	@deployments/check_page.sh

# the map: types, tests and the built files, which are committed, so that nobody needs Node to install segwatch
.PHONY: page
page:
	cd flows/web/page && npm install --no-save --no-audit --no-fund && npm test && npm run build

fmt: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

FUZZ_ARGS ?=

.PHONY: fuzz sbom audit
fuzz: setup
	$(BIN)/python -m tests.fuzz $(FUZZ_ARGS)

# in an environment of its own, like audit: beside Prefect it would slow down every command
SBOM_FILE ?= build/sbom.json
sbom: setup build/sbom/.ready
	build/sbom/bin/python -m cyclonedx_py environment $(BIN)/python --pyproject pyproject.toml --mc-type application \
		--output-reproducible --spec-version 1.6 --output-format JSON --validate --output-file $(SBOM_FILE)
	@sed -i 's#file://$(CURDIR)#.#g' $(SBOM_FILE)
	@echo "$(SBOM_FILE)"

build/sbom/.ready:
	$(PYTHON) -m venv build/sbom
	build/sbom/bin/pip install --quiet cyclonedx-bom==7.5.0
	@touch $@

# in an environment of its own, as it is no part of the product; a package that cannot be looked up fails it
audit:
	$(PYTHON) -m venv build/audit
	build/audit/bin/pip install --quiet pip-audit
	build/audit/bin/pip-audit --strict --disable-pip --no-deps --requirement constraints.txt

# stopping needs the virtual environment, so it is set up again if it is missing
stop:
	@if [ ! -e "$(HOME_FOLDER)" ]; then echo "nothing was running"; else $(MAKE) --no-print-directory setup && $(BIN)/segwatch stop; fi

# lists what it removes and asks first; without a terminal it needs CLEAN_ARGS=--yes
clean:
	@if [ ! -e "$(HOME_FOLDER)" ]; then echo "nothing to remove: there is no $(HOME_FOLDER)"; else $(MAKE) --no-print-directory setup && $(BIN)/segwatch clean $(CLEAN_ARGS); fi

bench-%: setup
	$(BIN)/segwatch-bench $*

# takes hours; repeated after an interruption, it resumes. TRAINING_DATA is the folder of the labelled data sets, or an
# archive of it made with python -m segwatch.model.train.archive
TRAINING_DATA ?= training-data
TRAINED = $(HOME)/.cache/segwatch/default/model

train: setup
	$(BIN)/segwatch model train model/train/recipes/default.toml --set data.root=$(TRAINING_DATA)
	$(BIN)/segwatch model train model/train/recipes/default-instruct.toml --set data.root=$(TRAINING_DATA)
	$(BIN)/python -m segwatch.model.train.calibrate --model $(TRAINED) --data $(TRAINING_DATA)
	$(BIN)/python -m segwatch.model.evaluate_places --model $(TRAINED) --data $(TRAINING_DATA) --out $(TRAINED)

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
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "segwatch needs Python 3.11 or newer; set PYTHON=/path/to/python3"; exit 1; }
	@echo "Setting up $(VENV) (once): takes some minutes and, depending on the build of torch, 1.5 to 6 GB"
	@$(PROGRESS) "virtual environment" $(PYTHON) -m venv $(VENV)
	@$(PROGRESS) "pip" $(BIN)/pip install --quiet --upgrade pip
	@$(PROGRESS) "torch" $(BIN)/pip install --quiet -c constraints.txt $(TORCH_ARGS) torch
	@$(PROGRESS) "segwatch and its dependencies" $(BIN)/pip install --quiet -c constraints.txt -e '.[model,serve,stac,train,analysis,aws,dev]'
	@touch $@

.PHONY: chromium

# the site: writes the generated pages anew from the code, builds build/site, and fails on any broken link
.PHONY: docs
docs: setup
	$(BIN)/python -m docs.generate
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build
