# Two commands suffice: `make serve` and `make test`. Both prepare .venv first.
# Settings: MODEL=smollm2 PORT=8000 HOST= ARGS= (more arguments for the tool) PYTHON= (which Python makes .venv)

VENV ?= .venv
MODEL ?= smollm2
PORT ?= 8000
HOST ?=
ARGS ?=
OUT ?= build/bench-gpu
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SOURCES := rustinfer tests examples $(wildcard plugins) $(wildcard benchmarks)

# The first Python of 3.11 or newer on PATH.
SUITS := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for p in python3 python3.11 python3.12 python3.13 python3.14; do \
  "$$p" -c '$(SUITS)' >/dev/null 2>&1 && { echo "$$p"; break; }; done)

.DEFAULT_GOAL := help
.PHONY: help setup serve test test-slow faults fuzz soak check covered lint types imports fmt bench test-gpu bench-gpu test-clients plugins

help: ## List these targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

setup: $(STAMP) ## Make .venv and install rustinfer with what its tests need

$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "error: no Python of 3.11 or newer with venv on PATH; install one, or name it: make $(MAKECMDGOALS) PYTHON=/path/to/python3" >&2; exit 2; }
	@test -x $(BIN)/python || "$(PYTHON)" -m venv $(VENV)
	@echo "Installing into $(VENV) (some minutes the first time)"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --upgrade pip 2>/dev/null \
	  || $(BIN)/python -m pip install --disable-pip-version-check --upgrade pip
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@echo "Compiling the CPU kernels"
	@$(BIN)/python -m rustinfer.backends.cpu
	@touch $@

serve: setup ## Serve MODEL at http://127.0.0.1:PORT, with a page to chat in
	@$(BIN)/rustinfer serve $(MODEL) --port $(PORT) $(if $(HOST),--host $(HOST)) $(ARGS)

test: setup ## Run the tests that need no GPU
	@$(BIN)/python -m pytest -m 'not gpu and not slow' --ignore=tests/gpu -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

test-slow: setup ## Run the tests that take long
	@$(BIN)/python -m pytest -m slow --ignore=tests/gpu $(ARGS)

faults: setup ## Try every fault and attack on real processes, and write docs/faults.md
	@$(BIN)/python -m pytest tests --ignore=tests/gpu --fault-report docs/faults.md -q $(ARGS)

fuzz: setup ## Look for frames that break the decoder, for a minute
	@$(BIN)/python -m tests.protocol.fuzz -max_total_time=60 $(ARGS)

soak: setup ## Twenty minutes of load with aborts and errors; fails where anything grows
	@$(BIN)/python -m benchmarks.soak $(ARGS)

covered: setup ## Run the registry's tests, which must reach its every line
	@$(BIN)/python -m pytest tests/registry -q --cov=rustinfer/registry --cov-fail-under=100 \
	  --cov-report=term-missing:skip-covered $(ARGS)

check: lint types imports covered test ## All that must pass before a change lands

lint: setup
	@$(BIN)/ruff check $(SOURCES)
	@$(BIN)/ruff format --check $(SOURCES)

types: setup
	@$(BIN)/mypy
	@for source in $(wildcard plugins/*/src); do MYPYPATH=$$source $(BIN)/mypy --explicit-package-bases $$source || exit 1; done

imports: setup
	@$(BIN)/lint-imports --no-cache --no-logo

fmt: setup ## Format the code and mend what ruff can
	@$(BIN)/ruff check --fix --quiet $(SOURCES) || true
	@$(BIN)/ruff format $(SOURCES)

plugins: setup ## Install plugins/* with pip, run the tests of each as its author would, and take them away again
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --constraint constraints.txt $(wildcard plugins/*/)
	@$(BIN)/rustinfer plugins
	@failed=; for plugin in $(wildcard plugins/*/); do \
	  echo "== $$plugin"; (cd $$plugin && $(abspath $(BIN))/python -m pytest -q $(ARGS)) || failed="$$failed $$plugin"; \
	done; \
	$(BIN)/python -m pip uninstall -qq --yes $$(sed -n 's/^name = "\(.*\)"/\1/p' plugins/*/pyproject.toml); \
	test -z "$$failed" || { echo "failed:$$failed"; exit 1; }

test-clients: setup ## Try other people's clients (openai, langchain, litellm, ...), each in an environment of its own
	@$(BIN)/python -m tests.clients.run --out docs/clients.md $(ARGS)

bench: setup ## Measure MODEL on this machine's CPU, beside llama.cpp where that is installed
	@$(BIN)/rustinfer bench cpu $(MODEL) $(ARGS)

test-gpu: setup ## Run the tests that need a GPU, and the conformance suite on the GPU's back ends
	@$(BIN)/python -m pytest -m gpu $(ARGS)
	@$(BIN)/python -m pytest --pyargs rustinfer.testing.suite --backend cuda --backend triton --backend cublas -q $(ARGS)

bench-gpu: setup ## Measure kernels, steps and the engine's workloads on the GPU, into OUT=build/bench-gpu, with plots
	@mkdir -p $(OUT)
	@$(BIN)/rustinfer bench gpu llama-3.2-1b --output $(OUT)/engine-1b.json
	@$(BIN)/rustinfer bench gpu llama-3.1-8b --output $(OUT)/engine-8b.json
	@$(BIN)/python -m benchmarks.gpu.engine_profile --out $(OUT)/engine-profile.json
	@$(BIN)/python -m benchmarks.gpu.products --out $(OUT)/products.json
	@$(BIN)/python -m benchmarks.gpu.loading --out $(OUT)/loading.json
	@$(BIN)/python -m benchmarks.gpu.first_light --out $(OUT) $(ARGS)
