# Everything a newcomer types. Each target does its own set-up: a virtual environment, uv from the package index, and
# the packages that uv.lock names.
#
#   make demo                      four synthetic hospitals label and learn together
#   make test                      the test suite
#   make demo TORCH_INDEX=URL      the same with torch from an index of CPU-only builds (saves about 4 GB)

PYTHON ?= python3
VENV ?= .venv
ARGS ?=

UV := .boot/bin/uv
STAMP := $(VENV)/.synced

.PHONY: setup demo test slow check clean

setup: $(STAMP)

demo: $(STAMP)
	$(VENV)/bin/medquorum demo $(ARGS)

test: $(STAMP)
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

slow: $(STAMP)
	$(VENV)/bin/python -m pytest -m slow --timeout 1500 $(ARGS)

check: $(STAMP)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/pyright
	$(VENV)/bin/lint-imports

clean:
	rm -rf $(VENV) .boot build dist *.egg-info

$(UV):
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "medquorum needs Python 3.11 or newer: make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv .boot
	.boot/bin/python -m pip install --quiet --disable-pip-version-check uv

# Bytecode is compiled once here: torch alone takes seconds to import without it.
$(STAMP): $(UV) pyproject.toml uv.lock
ifdef TORCH_INDEX
	$(UV) venv --quiet --allow-existing --python $(PYTHON) $(VENV)
	$(UV) export --quiet --locked --all-extras --no-hashes --no-emit-project --prune torch --prune torchvision -o .boot/requirements.txt
	VIRTUAL_ENV=$(VENV) $(UV) pip install --quiet --index $(TORCH_INDEX) --index-strategy unsafe-best-match \
	    $(shell sed -n 's/^    "\(torch[a-z]*[<>=].*\)",$$/"\1"/p' pyproject.toml)
	VIRTUAL_ENV=$(VENV) $(UV) pip install --quiet --no-deps --compile-bytecode -r .boot/requirements.txt
	VIRTUAL_ENV=$(VENV) $(UV) pip install --quiet --no-deps -e .
else
	UV_PROJECT_ENVIRONMENT=$(VENV) $(UV) sync --quiet --locked --all-extras --compile-bytecode --python $(PYTHON)
endif
	touch $(STAMP)
