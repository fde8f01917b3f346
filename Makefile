# make train [CONFIG=configs/lenet.yaml] [ARGS="--trainer.max_epochs 3"] [VENV=DIR]
# make test
# Without make: python tasks.py train, python tasks.py test.
PYTHON ?= python3
CONFIG ?= configs/quickstart.yaml
ARGS ?=

.PHONY: train test

train:
	@$(PYTHON) tasks.py train --config $(CONFIG) $(ARGS)

test:
	@$(PYTHON) tasks.py test $(ARGS)
