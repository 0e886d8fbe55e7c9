# Python 3.11 to 3.13 and make are all it takes: every target first brings .venv up to date by itself.
# PYTHON=... chooses the interpreter, ARGS=... is handed to the command behind a target.
PYTHON ?=
ARGS ?=

# Tests and demo start hundreds of Python processes: what one has compiled is kept for the next, also where the
# environment says otherwise (as in many containers), which makes each of them start in half the time.
export PYTHONDONTWRITEBYTECODE =

# One lock file for every platform and every supported Python, with hashes and without any address.
COMPILE = .venv/bin/uv pip compile pyproject.toml $(ARGS) --quiet --universal --python-version 3.11 \
	--generate-hashes --no-emit-index-url --custom-compile-command "make lock"

.DEFAULT_GOAL := help
.PHONY: help demo test chaos lint format audit bench peers lock setup clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo 'make demo ARGS="--for 20s --json"   options for the demo; make demo ARGS=--help lists them'
	@echo 'make chaos ARGS="--cycles 20 --seed 1 --json"   make chaos ARGS=--help lists them'
	@echo 'make test ARGS="-k planner -x"      options for pytest; ARGS=-n0 runs one test after the other'
	@echo 'make test PYTHON=python3.12         another interpreter'

demo: setup ## broker, simulated machines, connector and a local Clarify, all on this computer
	@.venv/bin/clarify-connector demo $(ARGS)

test: setup ## all tests; what needs a Mosquitto, or Java and Maven for Kafka, is left out where there is none
	@.venv/bin/pytest $(ARGS)

chaos: setup ## kill, cut and fill everything, and compare what arrived with what was published
	@.venv/bin/python -m tests.chaos.harness $(ARGS)

lint: setup ## style, formatting and types: ruff and mypy
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

format: setup ## put the code into the project's format and repair what ruff can repair
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

audit: setup ## dependencies: lock files, hashes and known vulnerabilities; AUDIT_REQUIRED=1 insists on an answer
	@.venv/bin/python -m tests.audit

bench: setup ## measure: ratios and their goals; ARGS=--json prints one line with all figures
	@.venv/bin/python -m benchmarks $(ARGS)

peers: setup ## the connector and Telegraf on the same work; needs Mosquitto and Go, and Java and Maven for Kafka
	@.venv/bin/python -m benchmarks.peers $(ARGS)

lock: setup ## resolve pyproject.toml into the lock files; ARGS=--upgrade takes the newest of everything
	.venv/bin/python -m pip install --quiet uv
	$(COMPILE) --output-file requirements.lock
	$(COMPILE) --output-file requirements-dev.lock --constraint requirements.lock \
		--all-extras --group test --group lint --group build

setup: ## make .venv, or bring it up to date
	@$(or $(PYTHON),python3) .bootstrap/install.py $(PYTHON) >&2

clean: ## remove .venv, caches and builds
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
