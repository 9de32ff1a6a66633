VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
PYENV_ROOT ?= $(HOME)/.pyenv
FUZZ := .fuzz
FUZZ_SECONDS ?= 600
# Traffic tests that also run without the fast path, as it is with other releases of mitmproxy and --no-fast-path.
WITHOUT_FAST_PATH := $(addprefix tests/traffic/test_,streaming.py endings.py misbehaving_clients.py misbehaving_http2.py \
  misbehaving_providers.py misbehaving_requests.py misbehaving_waits.py)
# Real servers for tests, each in an environment of its own, because their dependencies conflict.
REAL_SERVERS := litellm llama-cpp
# The tests use a tiny model, so the build leaves out optimisations and takes a third of the usual time.
LLAMA_CPP_BUILD := -DGGML_NATIVE=OFF -DGGML_LLAMAFILE=OFF -DLLAVA_BUILD=OFF -DCMAKE_C_FLAGS_RELEASE=-O1 \
  -DCMAKE_CXX_FLAGS_RELEASE=-O0 -DCMAKE_PROJECT_llama.cpp_INCLUDE=$(CURDIR)/tests/clients/real/llama-cpp.cmake

# Generated samples show times in UTC. Broken links and anchors are errors.
PAGES := README.md $(sort $(wildcard docs/*.md))
COG := TZ=UTC $(BIN)/cog
SITE := $(BIN)/sphinx-build -q -W --keep-going -b html -d .sphinx docs site

.PHONY: help setup demo test check test-real bench stress torture fuzz docs lock clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 18

setup: $(VENV)/.ready ## create .venv with the locked packages and this project

demo: setup ## record the built-in provider and print the reports
	@$(BIN)/tapeline demo

test: setup ## run the quick tests; make check runs all of them
	@$(BIN)/python -m pytest -q -n auto -m "not slow"

check: setup ## run everything that a reviewer would run
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(COG) --check -I . $(PAGES)
	$(SITE)
	TAPELINE_FAST_PATH=0 $(BIN)/python -m pytest -q -n auto $(WITHOUT_FAST_PATH)
	$(BIN)/python -m pytest -q -n auto

test-real: setup ## record real servers; the first run installs them, which takes minutes
	@$(MAKE) --no-print-directory --jobs 2 $(REAL_SERVERS:%=$(VENV)-%/.ready)
	@$(BIN)/python -m pytest -q -n 2 --dist loadfile tests/clients/real

bench: setup $(VENV)-bench/.ready $(VENV)-litellm/.ready ## measure what recording, storing and querying cost, in eleven minutes; QUICK=1: a sample in two
	@$(BIN)/python -m tests.bench $(if $(QUICK),--quick)
	$(if $(QUICK),,@$(BIN)/python -m tests.bench.timing)

stress: setup ## run a thousand streams, 100,000 exchanges, an hour-long stream and a full disk, in ten minutes
	@$(BIN)/python -m tests.stress

fuzz: $(FUZZ)/.ready ## feed random bodies to the parsers for FUZZ_SECONDS, guided by coverage
	@PYTHONPATH=$(FUZZ)/python $(BIN)/python -m tests.fuzz --seconds $(FUZZ_SECONDS) --work $(FUZZ)

torture: setup ## kill recorders, sealing and loads two hundred times and check that nothing is lost, in ten minutes
	@$(BIN)/python -m tests.torture

docs: setup ## write the generated parts of README.md and docs/, and build the site
	$(COG) -r -I . $(PAGES)
	$(SITE)

lock: ## pin the newest versions that fit pyproject.toml (needs uv)
	uv pip compile --quiet --upgrade --universal --generate-hashes --no-annotate --no-header --python-version 3.12 \
	  --extra all --group dev --output-file requirements.lock pyproject.toml
	uv pip compile --quiet --upgrade --universal --no-annotate --no-header --python-version 3.12 \
	  --output-file tests/bench/peers.txt tests/bench/peers.in
	for name in $(REAL_SERVERS); do uv pip compile --quiet --upgrade --universal --no-annotate --no-header \
	  --python-version 3.12 --output-file tests/clients/real/$$name.txt tests/clients/real/$$name.in || exit 1; done

clean: ## remove everything that make created
	rm -rf $(VENV) $(VENV)-bench $(REAL_SERVERS:%=$(VENV)-%) $(FUZZ) .bench .node .sphinx site build dist *.egg-info \
	  .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# Use the first Python >= 3.12 that really starts (a pyenv shim may not); if there is none, let uv fetch one.
$(VENV)/.ready: pyproject.toml requirements.lock
	@for py in $(PYTHON) python3 python3.14 python3.13 python3.12 $(wildcard $(PYENV_ROOT)/versions/3.1[2-9]*/bin/python3) none; do \
	  $$py -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null && break; \
	done; \
	if [ $$py != none ]; then echo "Setting up $(VENV) with $$py"; $$py -m venv --clear $(VENV); \
	else echo "No Python 3.12+ with venv here (python3 is $$(python3 --version 2>&1)); asking uv for Python 3.13" >&2; \
	  python3 -m venv --clear $(VENV)-uv && $(VENV)-uv/bin/pip install --quiet uv && \
	  $(VENV)-uv/bin/uv venv --quiet --clear --seed --managed-python --python 3.13 $(VENV); \
	fi || { echo "Tapeline needs Python 3.12 or newer: install one, or name it: make PYTHON=/path/to/python3.13 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PIP) install --requirement requirements.lock
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@mkdir -p $(VENV)/static/tapeline; for folder in addons pipeline queries; do \
	  ln -sfn "$(CURDIR)/$$folder" $(VENV)/static/tapeline/$$folder; done # type checkers do not follow an editable install
	@touch $@

$(REAL_SERVERS:%=$(VENV)-%/.ready): $(VENV)-%/.ready: tests/clients/real/%.txt | $(VENV)/.ready
	@echo "Installing $* in $(VENV)-$*"
	@$(BIN)/python -m venv --clear $(VENV)-$*
	@CMAKE_ARGS="$(LLAMA_CPP_BUILD)" CMAKE_BUILD_PARALLEL_LEVEL=2 \
	  $$(command -v timeout && echo 20m) $(VENV)-$*/bin/python -m pip --quiet --disable-pip-version-check install --requirement $<
	@touch $@

# The programs that the bench compares with, in an environment of their own, because their dependencies conflict.
$(VENV)-bench/.ready: tests/bench/peers.txt | $(VENV)/.ready
	@echo "Installing the programs to compare with in $(VENV)-bench"
	@$(BIN)/python -m venv --clear $(VENV)-bench
	@$(VENV)-bench/bin/python -m pip --quiet --disable-pip-version-check install --requirement $<
	@touch $@

# Not in the lock, which is for every Python: Atheris has wheels for some only.
$(FUZZ)/.ready: $(VENV)/.ready
	@$(PIP) install --upgrade --only-binary :all: --no-deps --target $(FUZZ)/python atheris==3.1.0
	@touch $@
