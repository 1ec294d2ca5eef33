.DEFAULT_GOAL := help
SHELL := /bin/bash
BIN := .venv/bin
ROOT := $(if $(filter 0,$(shell id -u)),,sudo)
COMMAND ?= cat /etc/hostname
# What the running kernel takes is enough for it; another kernel, or --level, may want another.
LEVELS ?= $$($(ROOT) $(BIN)/python -c 'from traceleft.tracer.kernel.levels import offered_levels as f; print(*(f"--level={n}" for n in f()[:1]))')

.PHONY: help
help: ## show this
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

.PHONY: install
install: ## Debian packages and .venv/bin/traceleft
	@scripts/install.sh run

.PHONY: install-test
install-test: ## what tests, lint and make golden need, in .venv
	@scripts/install.sh test

.PHONY: battery
battery: install ## generate and build a battery for the running kernel (LEVELS=all: for every level), in build/battery
	@mkdir -p build
	$(ROOT) $(BIN)/traceleft snapshot -o build/kernel.snapshot
	$(BIN)/traceleft generate --formats build/kernel.snapshot -o build/generated
	$(BIN)/traceleft build build/generated -o build/battery $(LEVELS:all=)

.PHONY: run
run: install ## trace COMMAND (a sample by default) on the running kernel, or in a VM where it permits no BPF
	@scripts/run.sh $(COMMAND)

.PHONY: lint
lint: ## ruff, read-only
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

.PHONY: format
format: ## let ruff rewrite
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: typecheck
typecheck: ## mypy --strict
	$(BIN)/mypy

.PHONY: test
test: install-test lint typecheck ## lint, types and all tests (as root: also live kernel and VMs)
	$(ROOT) env CI=$(CI) $(BIN)/python -m pytest $(PYTEST_ARGS)

.PHONY: test-kernels
test-kernels: install-test ## the tests that boot other kernels (TRACELEFT_KERNELS=DIR: the images there), and the tables in docs/ from them
	$(ROOT) rm -rf build/tests/support build/tests/commands
	$(ROOT) env CI=$(CI) TRACELEFT_KERNELS=$(TRACELEFT_KERNELS) $(BIN)/python -m pytest -m vm --jit=both $(PYTEST_ARGS); status=$$?; \
	$(BIN)/python scripts/write_support.py build/tests/support/*.jsonl && \
	$(BIN)/python scripts/write_commands.py build/tests/commands/*.jsonl && exit $$status

.PHONY: install-bench
install-bench:
	@scripts/install.sh bench

.PHONY: bench
bench: install-bench battery ## measure traceleft and its peers; writes docs/project/performance.md and docs/project/fleet.md
	$(ROOT) $(BIN)/python -m bench.run $(BENCH_ARGS)
	$(ROOT) $(BIN)/python -m bench.engines

.PHONY: golden
golden: install-test ## rewrite golden files, generated tables and headers, the man page, and pages and drawings in docs/
	$(BIN)/python scripts/make_record_header.py
	$(BIN)/python -m pytest -q --update-golden -m 'not kernel and not vm' tests
	$(BIN)/python scripts/make_man.py
	$(BIN)/python scripts/make_command_reference.py
	$(BIN)/python scripts/draw_concepts.py
	$(BIN)/python scripts/draw_structure.py

.PHONY: docs
docs: ## this documentation as pages in build/site, strictly; needs no network to be read
	@scripts/install.sh docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

.PHONY: dist
dist: install ## wheel and sdist in dist/
	rm -rf dist
	$(BIN)/python -m pip install -q --disable-pip-version-check build
	$(BIN)/python -m build -q

.PHONY: clean
clean: ## remove caches and distributions (build/battery and .venv stay)
	rm -rf dist .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info build/setuptools
	find . -name __pycache__ -type d -not -path './.venv/*' -prune -exec rm -rf {} +
