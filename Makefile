# `make run` and `make test` need nothing but Python 3.11 (with venv), g++ and make. All paths here are relative: make cannot
# handle an absolute one with a space in it.

PYTHON ?= python3
# Processes that the tests run in.
JOBS ?= 2
# More arguments for pytest, such as ARGS="-k clock".
ARGS ?=

SETUP := "$(PYTHON)" tools/setup_env.py
PYTEST := .venv/bin/python -m pytest

.PHONY: help run test test-long lint venv venv-test clean

help:
	@echo "make run        serve the example trace on three systems; the report is out/report.html"
	@echo "make test       install what the tests need, and run them"
	@echo "make test-long  run the tests that take minutes each"
	@echo "make lint       check style, types and the direction of imports"
	@echo "make venv       only create .venv, with the base requirements"
	@echo "make clean      delete out/, builds and caches (not .venv, not runs/)"

run: venv
	@.venv/bin/rtloom compare sim/experiments/bitnet_lut.toml --out out

test: venv-test
	$(PYTEST) -n $(JOBS) --dist worksteal --durations 10 $(ARGS)

test-long: venv-test
	$(PYTEST) -n $(JOBS) --dist worksteal --durations 10 -m long $(ARGS)

lint:
	@$(SETUP) dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/lint-imports --no-logo
	.venv/bin/mypy

venv:
	@$(SETUP)

venv-test:
	@$(SETUP) rtl calibrate dev
	@"$(PYTHON)" tools/system_tools.py

clean:
	rm -rf out build dist .pytest_cache .hypothesis .ruff_cache .mypy_cache .import_linter_cache
