# Two commands matter: `make demo` and `make test`. Both make .venv first; `make help` lists the rest.

VENV   ?= .venv
# The first interpreter that runs and is 3.11 or 3.12; `make PYTHON=/path/to/python3.12 env` chooses another.
PYTHON ?= $(shell for p in python3.11 python3 python3.12; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' 2>/dev/null && { echo $$p; break; }; done)
# Where the real sample data lies, if anywhere; the demo and some tests use it.
MAPGAP_DATA ?= $(abspath $(wildcard ../shared/data))
export MAPGAP_DATA
# One more than there are cores: some tests wait for processes of theirs.
JOBS ?= $(shell echo $$(($$(nproc) + 1)))

STAMP := $(VENV)/.made-from-lock
BIN   := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help env demo test lint bench bench-data bench-detectors bench-eyes bench-feed bench-maproulette bench-osm \
	wheel clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile | expand -t 18

env: $(STAMP) ## make .venv from requirements.lock, with mapgap in it

$(STAMP): requirements.lock setup.cfg pyproject.toml
	@if [ -z "$(PYTHON)" ]; then \
	  echo "mapgap needs Python 3.11 or 3.12, and found neither; name one: make PYTHON=/path/to/python3.11 env" >&2; exit 1; fi
	@echo "make env: $(VENV) from requirements.lock with $$($(PYTHON) --version)"
	@test -x $(BIN)/pip || $(PYTHON) -m venv --clear $(VENV) >/dev/null 2>&1 \
	  || { echo "make env: this Python has no ensurepip; taking pip from outside"; \
	       $(PYTHON) -m venv --clear --without-pip $(VENV) && $(PYTHON) -m pip --python $(BIN)/python install --quiet pip; } \
	  || { rm -rf $(VENV); \
	       echo "cannot make a virtual environment: install your system's venv package (Debian: apt-get install python3-venv)" >&2; \
	       exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

demo: env ## the whole way on a sample: finds planted errors, writes a table, a picture and a page to demo-out/
	$(BIN)/mapgap demo --out demo-out

# Test files go to JOBS processes whole and in their order, so that dear things are made once a file.
test: env ## all tests (pytest), in one process more than there are cores, at most four; JOBS=0: in this one
	@$(BIN)/python -m pytest -q -n $(JOBS) --maxprocesses 4 --dist loadfile --no-loadscope-reorder; code=$$?; \
	if [ $$code -eq 5 ]; then echo "no test was collected: that counts as a failure" >&2; fi; exit $$code

lint: env ## style (ruff)
	$(BIN)/ruff check --select E,F,I,UP,B,SIM,RUF --ignore RUF001,RUF002,RUF003 --line-length 120 \
	  --target-version py311 daemon detectors tests

bench: env ## times, memory and throughput, printed as tables
	$(BIN)/python -m pytest -q -s tests/benchmarks -o python_files='bench_*.py' -m benchmark

bench-osm: env ## the OSM side beside osm2pgsql (needs it, and PostgreSQL with PostGIS); takes some 25 minutes
	$(BIN)/python -m pytest -q -s tests/benchmarks/osm -o python_files='speed_*.py' -m benchmark

bench-data: env ## training data: GeoIter, RecordIO and files side by side (needs PostgreSQL with PostGIS); takes two minutes
	$(BIN)/python -m pytest -q -s tests/benchmarks/data -o python_files='speed_*.py' -m benchmark

bench-eyes: env ## engines and precisions: tiles a second, the whole path beside the bare loop, memory
	$(BIN)/python -m pytest -q -s tests/benchmarks/eyes -o python_files='speed_*.py' -m benchmark

bench-maproulette: env ## publishing 10,000 tasks into a MapRoulette on this machine; the whole replay of real edits with mappers
	$(BIN)/python -m pytest -q -s tests/benchmarks/maproulette -o python_files='speed_*.py' -m benchmark

bench-feed: env ## the server at up to a million discrepancies, its queries beside Osmose's; what uploads cost; takes ten minutes
	$(BIN)/python -m pytest -q -s tests/benchmarks/feed tests/benchmarks/osmose -o python_files='speed_*.py' -m benchmark

bench-detectors: env ## each detector on one block after the probabilities: seconds, memory, growth with objects; land cover on real ground
	$(BIN)/python -m pytest -q -s tests/benchmarks/detectors -o python_files='speed_*.py score_*.py' -m benchmark

wheel: env ## build dist/mapgap-*.whl
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .
	@ls dist

clean: ## remove what make made (also .venv)
	rm -rf $(VENV) build dist demo-out *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
