# Everything from a bare machine with Python 3.11 and make: `make demo` runs the main job, `make test` the tests.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
export RAY_USAGE_STATS_ENABLED := 0

.PHONY: help demo test check wheel chaos
.DEFAULT_GOAL := help

help:  ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

# The stamp is newer than pyproject.toml when the environment holds what the project asks for.
$(VENV)/installed: pyproject.toml deepblur/_version.py
	@command -v $(PYTHON) >/dev/null || { echo "deepblur needs Python 3.11 or newer; say where it is: make PYTHON=/path/to/python3" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

demo: $(VENV)/installed  ## the first study as a Ray job on this machine: table, picture, MLflow record, gate (4 minutes)
	$(BIN)/python -m deepblur.platform.demo

test: $(VENV)/installed  ## all tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

check: $(VENV)/installed  ## style, types, and whether editors can follow the imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python tests/editor_check.py

wheel: $(VENV)/installed  ## build the wheel, install it in an empty environment, import every public name
	$(BIN)/python tests/wheel_check.py

chaos: $(VENV)/installed  ## strike a study with all that happens to long jobs; report in runs/chaos (about 15 minutes)
	DEEPBLUR_CHAOS=1 $(BIN)/python -m pytest tests/platform/cluster/test_ray.py -k search
	$(BIN)/python tests/chaos/chaos.py --out runs/chaos
