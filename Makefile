# Two commands matter: `make run` and `make test`. Both make what they need in .venv first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: run test lint types laws tests matrix bench generate corpus fuzz clean

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 10) else "gpuverify needs Python 3.10 or newer; call: make PYTHON=/path/to/python3")'
	@$(PYTHON) -m venv $(VENV) || $(PYTHON) -m virtualenv $(VENV) || \
	  { echo "No virtual environment could be made: install python3-venv (Debian: apt install python3-venv)"; exit 1; }

# An install for users: the package and what it needs to run, nothing else.
$(VENV)/.runtime: $(BIN)/python pyproject.toml
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(STAMP): $(VENV)/.runtime
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@{ $(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[kernels]' && \
	  $(BIN)/python tests/tools/build_packs.py --fetch; } || \
	  echo "no CUDA compilers for this platform: the gate over the kernels is skipped"
	@{ command -v npm >/dev/null && npm --prefix tests/foreign/node ci --silent --no-audit --no-fund; } || \
	  echo "no npm: the tests with foreign verifiers in JavaScript are skipped"
	@touch $@

run: $(VENV)/.runtime
	@sh examples/first-run.sh $(BIN)/gpuverify

test: $(STAMP) lint types laws tests

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy gpuverify tests benchmarks

laws: $(STAMP)
	$(BIN)/lint-imports

tests: $(STAMP)
	$(BIN)/coverage erase
	PYTHONUTF8=1 $(BIN)/coverage run -m pytest -q -n 2 --dist loadfile
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

# The test suite on each Python from 3.10 on that this machine has.
matrix:
	@sh .ci/matrix

bench: $(STAMP)
	$(BIN)/python benchmarks/run.py
	$(BIN)/python benchmarks/kernels.py
	$(BIN)/python benchmarks/signing.py
	$(BIN)/python benchmarks/device_evidence.py

# Everything that is generated and committed; a test fails where it is not current.
generate: $(STAMP)
	$(BIN)/python tests/tools/generate_all.py

# What comes of each real read-out in GPUVERIFY_CORPUS.
corpus: $(STAMP)
	@$(BIN)/python tests/tools/corpus_table.py

fuzz: $(STAMP)
	GPUVERIFY_FUZZ_SECONDS=$${GPUVERIFY_FUZZ_SECONDS:-600} $(BIN)/pytest -q tests -k fuzz
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[fuzz]' && \
	  GPUVERIFY_FUZZ_SECONDS=$${GPUVERIFY_FUZZ_SECONDS:-600} $(BIN)/python tests/tools/fuzz_reports.py

clean:
	rm -rf $(VENV) .venv-* .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage*
