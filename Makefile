# Two commands do everything on a machine that has only Python >= 3.11 with venv, and make:
#   make study    sets up, runs the study on generated images, builds the book, prints its path
#   make test     sets up, runs the tests
# `make help` lists the rest.

SHELL := /bin/bash
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

EDITION ?= phantom
CORES ?= 2
ARGS ?=
# the first Python on PATH that is new enough
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; exit; }; done; echo python3)

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
NOTEBOOKS = $(wildcard notebooks/*.ipynb)

# text is UTF-8 in every locale
export PYTHONUTF8 := 1
unexport PYTHONIOENCODING
# a user without a home to write to (in containers, on some clusters) gets one for the tools' caches
ifneq ($(shell [ -d "$$HOME" ] && [ -w "$$HOME" ] && echo yes),yes)
export HOME := $(CURDIR)/$(VENV)/home
endif
WRITABLE = @[ -w . ] || { \
	echo "$(CURDIR) cannot be written by this user: copy it to where it can, and call make there." >&2; exit 1; }

.PHONY: help study test test-book test-faults lab book lint lock unlock smoke clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

study: $(STAMP) ## run the study and build the book (EDITION=phantom, real or paper; CORES=2)
	$(WRITABLE)
	@case "$(EDITION)" in phantom|real|paper) ;; \
		*) echo "EDITION=$(EDITION): expected phantom, real or paper" >&2; exit 2 ;; esac
	$(BIN)/snakemake --cores $(CORES) --rerun-incomplete --rerun-triggers params --quiet rules \
		--config edition=$(EDITION)
	@echo "The book: $(CURDIR)/book/_build/html/index.html"

test: $(STAMP) ## run the tests (ARGS="-k split" for some, "--random-order-seed=1" in an order drawn from 1; CORES=2)
	$(BIN)/python -m pytest -n $(CORES) --dist worksteal $(ARGS)

test-book: $(STAMP) ## open every page of the built book in chromium, offline (run `make study` first)
	@command -v chromium chromium-browser google-chrome >/dev/null || { \
		[ "$$(id -u)" = 0 ] && apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium >/dev/null; } || { \
		echo "test-book needs a browser: sudo apt-get install chromium" >&2; exit 1; }
	$(BIN)/python -m pytest -m browser tests/report/test_book.py

test-faults: $(STAMP) ## files of every kind against the standards; thousands of damaged files, tables and archives
	$(BIN)/python -m pytest -m faults tests/faults

lab: $(STAMP) ## open the notebooks in JupyterLab, kernel installed
	$(BIN)/python -m ipykernel install --sys-prefix --name ortholib --display-name "ortholib"
	@# this environment's kernels before any that the user registered
	JUPYTER_PATH="$(CURDIR)/$(VENV)/share/jupyter$${JUPYTER_PATH:+:$$JUPYTER_PATH}" $(BIN)/python -c \
		'from ortholib import entry; from jupyterlab.labapp import main; entry.run(main)' $(ARGS) notebooks

book: $(STAMP) ## build the book from the chapters already run
	$(BIN)/python -m ortholib.report.book

lint: $(STAMP) ## check the code, and that the notebooks hold no output
	$(BIN)/ruff check .
	$(if $(NOTEBOOKS),$(BIN)/nbstripout --verify --keep-id $(NOTEBOOKS))

unlock: $(STAMP) ## let `make study` start again where one was killed on another machine
	$(BIN)/snakemake --unlock --cores 1 --config edition=$(EDITION)

lock: $(STAMP) ## resolve pyproject.toml into requirements.lock
	$(BIN)/uv pip compile --universal --generate-hashes --all-extras --no-header --no-emit-index-url \
		--python-version 3.11 pyproject.toml -o requirements.lock

# Small but real: needs ORTHOLIB_DATA. Its runs lie apart, so that it never touches a recorded or a longer real run.
smoke: export ORTHOLIB_RUNS := $(CURDIR)/runs/smoke
smoke: $(STAMP) ## a few minutes on the real sets under $ORTHOLIB_DATA
	@[ -d "$$ORTHOLIB_DATA" ] || { echo "ORTHOLIB_DATA='$$ORTHOLIB_DATA': expected the folder of the real sets" >&2; exit 2; }
	$(BIN)/ortholib data check fracatlas --json
	$(BIN)/ortholib data check kneekl --json
	$(BIN)/ortholib data pack kneekl --size 64 --json
	$(BIN)/ortholib run 30-knee-oa --edition real --set size=64 --set seeds=1 --set draws=200 --set once={} \
		--set pretraining={} --set encoders=[efficientnet-lite0] --set learners=[XGBoost] \
		--set 'training={epochs: 1, head: continuation, recalibrate: 4, drop_path: 0.2}'
	$(BIN)/python -m pytest -m recorded tests/report/test_recorded.py tests/report/test_networks.py

clean: ## delete what the study made: runs/ (every edition), the book, data/phantom; never your data
	rm -rf runs data/phantom book/_build book/_chapters .snakemake .pytest_cache .ruff_cache

$(STAMP): requirements.lock pyproject.toml
	$(WRITABLE)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "No Python 3.11 or newer found ($(PYTHON) is: $$($(PYTHON) -V 2>&1))." >&2; \
		echo "Debian 12, Ubuntu 24.04 or later: sudo apt-get install python3 python3-venv." >&2; \
		echo "Elsewhere: install one and name it, make PYTHON=/path/to/python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) comes without venv: sudo apt-get install python3-venv" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info >= (3, 14))' || command -v cc >/dev/null || { \
		echo "Python 3.14: one dependency is compiled here: sudo apt-get install build-essential python3-dev" >&2; exit 1; }
	@# an environment that works is kept; a half-made one, or one whose Python is gone, starts again
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { echo "$(PYTHON) -m venv $(VENV)"; $(PYTHON) -m venv --clear $(VENV); }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --python $(BIN)/python --require-hashes -r requirements.lock
	$(BIN)/uv pip install --python $(BIN)/python --no-deps -e .
	@touch $@
