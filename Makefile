# Every command a person or CI runs. `make help` lists them; everything is installed into .venv and nowhere else.

PYTHON ?= python3
PIP_UV := uv==0.13.8
BIN := .venv/bin
STAMP := .venv/.synced
# Extra arguments for pytest: make test ARGS="-k merge -x"
ARGS ?=

# Trust the system's certificates as well (a proxy that inspects TLS adds its own): harmless elsewhere.
export UV_SYSTEM_CERTS := 1
# uv only fills .venv: it fetches no interpreter, and an activated environment elsewhere is left alone.
export UV_PYTHON_DOWNLOADS := never
unexport VIRTUAL_ENV UV_PROJECT_ENVIRONMENT PYTHONHOME

.DEFAULT_GOAL := help
.PHONY: help setup demo test check format bench docs corpus wheel clean

help: ## List what can be run
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP) ## Install everything into .venv (instant when nothing changed)
	@:

$(STAMP): pyproject.toml uv.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "memfold needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>&1)." >&2; \
	  echo "Name another one: make setup PYTHON=python3.12" >&2; exit 1; }
	@test -x $(BIN)/python -a -x $(BIN)/pip || $(PYTHON) -m venv --clear .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check '$(PIP_UV)'
	@$(BIN)/uv sync --quiet --frozen --inexact --python $(BIN)/python
	@touch $@

demo: setup ## Watch agents write, fold, read and audit memory on this machine
	@$(BIN)/memfold demo

test: setup ## Run all tests against a real nats-server (ARGS="-k name" for some)
	$(BIN)/pytest -rs $(ARGS)

check: setup ## Check format, lint, types, layers, sizes, docs and the wheel
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/python tests/house/check_sizes.py
	$(BIN)/pytest -q tests/house
	$(BIN)/python tests/house/check_wheel.py

format: setup ## Format the code and fix what ruff can fix
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: setup ## Measure throughput and latency on this machine
	$(BIN)/python benchmarks/run.py $(ARGS)

docs: setup ## Write the generated reference pages again
	$(BIN)/python -m memfold_consumers.asyncapi docs/reference/asyncapi.json
	cd tests && ../$(BIN)/python -m support.reference

corpus: setup ## Record this version's event streams, if that was not done before
	cd tests && ../$(BIN)/python -m support.corpus

wheel: setup ## Build the wheel into dist
	$(BIN)/hatchling build -t wheel

clean: ## Remove .venv, caches and built files (never .memfold, which is data)
	rm -rf .venv dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
