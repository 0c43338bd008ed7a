# Every target sets up what it needs: `make demo` and `make test` work on a fresh machine.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.set-up
PAPERS := $(sort $(notdir $(patsubst %/,%,$(wildcard plugins/[a-z]*/))))

# Hundreds of processes start in the tests: each would compile what it imports (PyTorch: 10 s).
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup demo test faults check docs reproduce bench clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt -e ".[dev]"
	@touch $(STAMP)

demo: setup  ## a search on the embedded defaults: SQLite, CPU
	$(BIN)/automl search --plugin ptrnet --dataset tsp --trials 8 --timeout 120

test: setup  ## all tests, the slow ones included
	$(BIN)/python -m pytest -n 3 --dist worksteal

faults: setup  ## 200 random kills of drivers and workers, 100 Ctrl-C, on each database (AUTOML_KILLS=N)
	AUTOML_KILLS=$${AUTOML_KILLS:-200} $(BIN)/python -m pytest tests/faults

check: setup  ## what a commit must pass: style, types, imports, size, fast tests, docs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/size.py
	$(BIN)/python tools/docs.py --check
	$(BIN)/python -m pytest -n 3 --dist worksteal -m "not slow"

docs: setup  ## refresh the generated parts of the documentation
	$(BIN)/python tools/docs.py

reproduce: setup  ## train and judge every claim of every plugin (hours), refresh docs/claims.md
	for paper in $(PAPERS); do $(BIN)/automl reproduce $$paper; done; true
	$(BIN)/automl claims --markdown docs/claims.md

bench: setup  ## measure, refresh docs/performance.json and docs/performance.md
	$(BIN)/python benchmarks/run.py

clean:
	rm -rf $(VENV) build dist *.egg-info
