# Targets for people and for CI. `make help` lists them.
#
#   make demo                    make test WORKERS=4
#   make test PYTHON=python3.12  make test ARGS="-k merge"

PYTHON  ?= python3
VENV    ?= .venv
WORKERS ?= 2
ARGS    ?=
BENCH   ?= *

BIN   := $(VENV)/bin
NEWER := $(VENV)-dbt-1.12
STAMP := $(VENV)/.installed

# Where the variable is set (in many containers), every start of Python would compile every module again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help install demo test test-service test-as-is compatibility test-dbt-1.12 test-matrix bench bench-branches lint format clean

help: ## what there is to make
	@awk -F ':.*## ' '/^[a-z0-9.-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

install: $(STAMP) ## the environment, in .venv; the other targets see to it themselves

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { \
		echo "Python 3.11, 3.12 or 3.13 is needed, and '$(PYTHON)' is: $$($(PYTHON) --version 2>&1)."; \
		echo "Name another one: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@echo "Installing the project and its pinned dependencies into $(VENV) (once; about a minute)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,sample,postgres,s3,service,telemetry,watch]'
	@touch $@

demo: $(STAMP) ## branch, run, failure, fix and merge on 336,776 flights, in ./demo
	@$(BIN)/python sample_project/demo.py $(ARGS)

test: $(STAMP) ## lint, types and the whole test suite
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -n $(WORKERS) --durations=15 --durations-min=1 $(ARGS)

test-service: $(STAMP) ## dbt's own adapter suite once more, against a service instead of an embedded lake
	LAKEHOUSE_TEST_SERVICE=1 $(BIN)/pytest -n $(WORKERS) $(ARGS) tests/functional/adapter

test-dbt-1.12: $(NEWER)/.installed ## what reuse means in dbt's words, with dbt-core 1.12 (in an environment of its own)
	$(NEWER)/bin/pytest -n $(WORKERS) $(ARGS) tests/functional/lakehouse/test_reuse.py tests/functional/lakehouse/test_reuse_selection.py

# dbt-core 1.12 names a parser in Rust which it needs for one flag alone, and which comes from elsewhere than PyPI.
$(NEWER)/.installed: $(STAMP)
	@test -x $(NEWER)/bin/python || $(BIN)/uv venv --quiet --python $(BIN)/python $(NEWER)
	@grep -v '^dbt-core==' constraints.txt > $(NEWER)/constraints.txt
	@echo "dbt-core-experimental-parser ; sys_platform == 'none'" > $(NEWER)/overrides.txt
	@$(BIN)/uv pip install --quiet --python $(NEWER)/bin/python -c $(NEWER)/constraints.txt --override $(NEWER)/overrides.txt \
		-e '.[dev,postgres,s3,service,telemetry]' 'dbt-core==1.12.*'
	@touch $@

test-as-is: $(STAMP) ## each class of dbt's adapter suite with nothing replaced; dbt-duckdb instead: ARGS="--adapter duckdb"
	$(BIN)/python tests/compatibility/as_is.py --workers $(WORKERS) $(ARGS)
	$(BIN)/python tests/compatibility/page.py

compatibility: $(STAMP) ## run dbt's adapter suite, and write down in docs/compatibility.md what came out
	LAKEHOUSE_RECORD_OUTCOMES=1 $(BIN)/pytest -n $(WORKERS) tests/functional/adapter
	$(BIN)/python tests/compatibility/page.py

test-matrix: $(STAMP) ## a part of the suite on other versions of Python, dbt-core and DuckDB; one of them: ARGS="--cell NAME"
	$(BIN)/python tests/compatibility/matrix.py $(ARGS)

bench: $(STAMP) ## measure beside DuckDB and dbt-duckdb on this machine; one of them: BENCH=tables
	@for script in tests/benchmarks/bench_$(BENCH).py; do \
		echo "$$script"; $(BIN)/python "$$script" $(ARGS) || exit 1; \
	done

bench-branches: $(STAMP) ## measure branches and merges alone; the last line sums up
	@$(BIN)/python tests/benchmarks/bench_branches.py $(ARGS)

lint: $(STAMP) ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP) ## let ruff put the code in order
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove the environment and everything that can be made again
	rm -rf $(VENV) $(NEWER) .venv-matrix demo build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	rm -rf sample_project/lake sample_project/raw sample_project/target sample_project/logs
	find dbt tests sample_project -type d -name __pycache__ -prune -exec rm -rf {} +
