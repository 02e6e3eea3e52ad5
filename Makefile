# Two commands do all of their own set-up: make demo, make test.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help env demo test test-full check format bench chaos soak evaluate docs lock clean

PYTHON := .venv/bin/python
# So many files at once as is said where it is used; quick tests wait much for what they start.
TESTS := $(PYTHON) -m pytest --dist loadfile --no-loadscope-reorder
# Hundreds of processes are started: none shall compile again what it imports, nor have threads
# that wait for the cores which other tests are at.
unexport PYTHONDONTWRITEBYTECODE
test test-full: export OMP_NUM_THREADS := 1
# The environment is built again when what it is made from is newer than this file.
STAMP := .venv/.complete

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

env: $(STAMP) ## build .venv/ (instant when nothing changed)

# Files by kind, since Python may leave a cache beside them.
MADE_FROM := pyproject.toml $(wildcard requirements/*.txt environment/*/*.py environment/*.*) \
  environment/install environment/system

$(STAMP): $(MADE_FROM)
	environment/install
	@touch $@

demo: env ## annotate sample images, speech and video on this machine's CPU
	$(PYTHON) -m examples.demo

check: env ## lint, format, types and the direction of imports
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

test: check ## the checks, and the tests but the slow ones
	$(TESTS) -n 3 -m 'not full'

test-full: env ## the slow tests
	$(TESTS) -n 2 -m full

chaos: env ## two thousand faults on real processes, in about two hours
	$(PYTHON) -m tests.chaos --results tests/chaos/results.jsonl

soak: env ## twenty minutes of faults on one worker: nothing may grow
	$(PYTHON) -m tests.chaos.soak

format: env ## put the source into its format
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

bench: env ## measure throughput, planning and memory on this machine
	$(PYTHON) -m benchmarks

evaluate: env ## measure how well the tiny model answers, in about 15 minutes
	$(PYTHON) -m models.tiny.evaluate --out .cache/evaluation

docs: env ## make the tasks' pages anew, with the tiny model's answers
	$(PYTHON) -W ignore -m docs.pages

lock: env ## write the versions installed now to requirements/constraints.txt
	environment/lock

clean: ## remove the environment and everything that was made
	rm -rf .venv .cache .demo .pytest_cache .ruff_cache .mypy_cache .hypothesis build dist *.egg-info
