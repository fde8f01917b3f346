# make train [CONFIG=configs/lenet.yaml] [ARGS="--trainer.max_epochs 3"]
# make test
PYTHON ?= python3
CONFIG ?= configs/quickstart.yaml
ARGS ?=
BIN := .venv/bin

.PHONY: train test

train: .venv/installed
	$(BIN)/python train.py --config $(CONFIG) $(ARGS)

test: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m tools.stage_tables --check
	$(BIN)/python -m tools.results_table --check
	$(BIN)/python -m tools.rooms --check
	# One thread for each of the two processes, or as many as the environment says.
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest $(ARGS)

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --editable ".[dev]" --constraint constraints.txt
	touch $@
