# `make demo`, `make test`, `make test-fast` and `make lint` all set everything up first, in a virtual environment of
# their own.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-fast fuzz hostile hub kill lint quality oldest installs hooks docs app-test setup ffmpeg
.DEFAULT_GOAL := test

demo: setup
	$(BIN)/accelerate launch examples/pretrain.py

test: setup
	$(BIN)/python -m pytest

# Without real weights, real videos and whole scripts: two minutes, for every change.
test-fast: setup
	$(BIN)/python -m pytest -m "not slow"

# The property tests alone, for long and on cases that nobody has seen.
fuzz: setup
	HYPOTHESIS_PROFILE=fuzz $(BIN)/python -m pytest -m hypothesis --timeout 0

# A Hub on this machine, real pushes to it, and pulls by processes that have nothing of ours.
hub: setup
	$(BIN)/python -m pytest tests/hub

# Kills builds of a corpus at 20 random moments and compares what they end in.
kill: setup
	$(BIN)/python benchmarks/isolation.py --parts kills --json benchmarks/results/isolation.json

# Hundreds of hostile files, made on the spot: what becomes of each of them.
hostile: setup
	$(BIN)/python benchmarks/hostile.py --json benchmarks/results/hostile.json

lint: setup
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

# What a house needs that others can join: types, tidy files, cheap imports.
quality: $(VENV)/quality
	$(BIN)/mypy
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/pre-commit run --all-files
	$(BIN)/python tests/packaging/import_cost.py

# Before a release, since each environment fetches some GB: all fast tests with the oldest versions that setup.py allows,
# on the oldest Python that is here.
oldest: $(VENV)/quality
	$(BIN)/python tests/packaging/oldest.py

# Before a release, too: the wheel in a fresh environment of each Python that is here.
installs: $(VENV)/quality
	$(BIN)/python tests/packaging/installs.py --all

# The site, without a warning, and a try of every block of code that stands in the documents.
docs: $(VENV)/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
	$(BIN)/python -m pytest tests/documents

$(VENV)/docs: setup.py | setup
	$(BIN)/python -m pip install --quiet --editable ".[app,demo,docs,test]"
	touch $@

# The page, in a real browser; without Chromium only its parts.
app-test: $(VENV)/app
	-sh examples/app_parts/install_chromium.sh
	$(BIN)/python -m pytest tests/app

$(VENV)/app: setup.py | setup
	$(BIN)/python -m pip install --quiet --editable ".[app-test]"
	touch $@

# Git runs the hooks of .pre-commit-config.yaml before each commit.
hooks: $(VENV)/quality
	$(BIN)/pre-commit install

$(VENV)/quality: setup.py | setup
	$(BIN)/python -m pip install --quiet --editable ".[quality]"
	touch $@

setup: ffmpeg $(VENV)/installed

$(VENV)/installed: setup.py
	# Debian's Python may come without venv; virtualenv then does the same from a folder of its own.
	$(PYTHON) -m venv $(VENV) || ($(PYTHON) -m pip install --quiet --target build/virtualenv virtualenv && \
		PYTHONPATH=build/virtualenv $(PYTHON) -m virtualenv --clear $(VENV))
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable ".[demo,test]"
	@$(BIN)/python -c "import torchcodec" || (echo "FFmpeg's shared libraries are missing (a static ffmpeg has none): \
	install FFmpeg with your package manager." >&2; exit 1)
	touch $@

# torchcodec decodes with FFmpeg's shared libraries, and the kitchen encodes with its program.
ffmpeg:
	@command -v ffmpeg >/dev/null || sh examples/kitchen/install_ffmpeg.sh
