# Each target sets up what it needs: a fresh machine with Python 3.11 or newer is enough.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
KERNELS := $(wildcard rerank/engines/kernels/*.[ch])
# Processes that run the tests; each starts a Ray of its own, and wants a core and about 4 GB of memory.
WORKERS ?= 2
# What `make image` builds: cpu or gpu, with this program, as IMAGE-cpu or IMAGE-gpu.
DEVICE  ?= cpu
IMAGE   ?= rerank:0.1.0
BUILDER ?= $(firstword $(foreach name,docker podman buildah,$(if $(shell command -v $(name)),$(name))))

.PHONY: demo test chaos test-clients gpu-wheels check docs image audit setup clean

demo: $(VENV)/.installed ## rerank the documentation of your own Python, and see whether it helps
	@$(BIN)/rerank demo

test: $(VENV)/.installed ## every test, a file or a group of files at a time in each of WORKERS=2 processes
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

chaos: $(VENV)/.installed ## ten minutes of random kills while jobs run and clients ask a server; SEED=N repeats their order
	$(BIN)/python -m tests.chaos --seconds 600 $(if $(SEED),--seed $(SEED))

test-clients: $(VENV)/.installed ## the real rerank SDKs against a server, each in an environment of its own
	$(BIN)/python tests/serve/clients/run.py

gpu-wheels: $(VENV)/.installed ## what a bare GPU machine (Linux, x86-64, Python 3.12) lacks for `python -m jobs.bench.gpu`
	$(BIN)/python -m pip download --quiet --only-binary=:all: --no-deps --dest gpu-wheels \
	  --python-version 3.12 --platform manylinux2014_x86_64 -c constraints.txt \
	  annotated-types pydantic pydantic-core typing-inspection

check: $(VENV)/.installed ## lint, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run -Werror $(KERNELS)
	$(BIN)/mypy

docs: $(VENV)/.installed ## the documentation as pages in site/; a broken link or name fails
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

image: ## a container image with all that nodes, jobs and servers need: DEVICE=cpu or gpu, by docker, podman or buildah
	@test -n "$(BUILDER)" || { echo "make image needs docker, podman or buildah, and found none" >&2; exit 1; }
	$(BUILDER) build $(if $(filter docker,$(BUILDER)),,--format docker) --target $(DEVICE) -t $(IMAGE)-$(DEVICE) .

audit: ## known vulnerabilities of the versions in constraints.txt; needs an index that knows them
	@test -x build/audit/bin/pip-audit || { $(PYTHON) -m venv build/audit && build/audit/bin/pip install --quiet pip-audit; }
	@build/audit/bin/pip-audit --requirement constraints.txt --no-deps --disable-pip --format json \
	  --output build/audit/report.json 2> build/audit/log || true
	@$(PYTHON) tests/audit.py build/audit/report.json

setup: $(VENV)/.installed ## the virtual environment alone

$(VENV)/.installed: pyproject.toml constraints.txt $(KERNELS)
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and f"rerank needs Python 3.11 or newer, {v.major}.{v.minor} is $(PYTHON): try make PYTHON=python3.12")'
	@echo "Setting up $(VENV) (once; a few minutes, most of it torch and ray)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,docs]'
	@touch $@

clean: ## remove what make made
	rm -rf $(VENV) demo site build dist *.egg-info rerank_kernels*.so .mypy_cache .ruff_cache .hypothesis
