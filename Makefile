PYTHON ?= python3
SWEEP ?= default
NAME ?= base
FAIL_ABOVE ?= 10%
SOURCE ?=
RESULTS := results
COMMITTED := $(addprefix $(RESULTS)/,$(shell grep '^[a-z]' $(RESULTS)/claims-runs.txt))
BIN := .venv/bin
READY := .venv/.ready

.DEFAULT_GOAL := help
.PHONY: help setup peers clusters bench smoke test check docs site bench-save bench-compare clean

help: ## show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## make the environment in .venv, with the versions of constraints.txt

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

# learn2learn's shipped C files are too old for Python 3.11; asked for build_ext, its set-up writes them anew
# (learnables/learn2learn#413). Its dependencies are of parts that are not used here.
peers: $(READY) ## add the libraries that run beside our engines: higher, learn2learn, TorchOpt, JAX
	PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet --editable '.[higher,jax,learn2learn,torchopt]'
	PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet --no-deps --use-pep517 \
		--config-settings=--build-option=build_ext learn2learn==0.2.0

clusters: $(READY) ## add what sweeps on a cluster need: Ray, and submitit for Slurm
	PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet --editable '.[ray,slurm]'

bench: $(READY) ## run a sweep and print its tables, the default one in under 10 minutes on two cores (SWEEP=first, default, algorithms, sinusoid, memory, engines, engines-images, counters, growth, wide, long-inner-loops, omniglot-hour, papers-omniglot, papers-omniglot-20way, papers-sinusoid, papers-costs, parts, processes, large, gpu, gpu-large, gpu-work, smoke or a TOML file)
	$(BIN)/metabench run $(SWEEP)

smoke: $(READY) ## run every part once, in about 20 seconds
	$(BIN)/metabench run smoke

test: $(READY) ## run the tests
	$(BIN)/python -m pytest --numprocesses auto

check: $(READY) ## lint, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(READY) ## write the tables of the committed runs, the claims, and what README and docs quote anew
	for rows in $(wildcard $(RESULTS)/*/*/measurements.jsonl $(RESULTS)/*/searches/*/trials.jsonl); do \
		$(BIN)/metabench report $$(dirname $$rows) > /dev/null || exit 1; done
	$(BIN)/metabench claims $(COMMITTED) --out $(RESULTS) > /dev/null
	$(BIN)/metabench forecast $(RESULTS)/epyc-2core/processes --meta-batch 32 --out $(RESULTS)/epyc-2core > /dev/null
	$(BIN)/metabench forecast $(RESULTS)/epyc-2core/gpu-work --hardware h100 --devices 1 --out $(RESULTS)/h100-16core \
		$(addprefix --against $(RESULTS)/h100-16core/,gpu-images gpu-large) > /dev/null
	$(BIN)/metabench compare $(RESULTS)/epyc-2core/default $(RESULTS)/epyc-2core/default-again --markdown \
		> $(RESULTS)/epyc-2core/default-against-default-again.md
	$(BIN)/metabench compare $(RESULTS)/epyc-avx2-2core/counters $(RESULTS)/epyc-avx2-2core/counters-loaded --markdown \
		> $(RESULTS)/epyc-avx2-2core/counters-against-counters-loaded.md
	$(BIN)/python tools/write_reference.py
	$(BIN)/python tools/simulate_intervals.py docs/method.md
	$(BIN)/python tools/draw_figures.py README.md docs/*.md
	$(BIN)/python tools/quote_tables.py README.md docs/*.md

site: $(READY) ## build the book and the pages of all committed runs into site/, static files for any web server
	$(BIN)/python tools/build_site.py --source '$(SOURCE)'

bench-save: $(READY) ## time meta-iterations and the sampling of tasks with pytest-benchmark and keep it (NAME=base)
	$(BIN)/python -m pytest bench --benchmark-only --benchmark-save=$(NAME)

bench-compare: $(READY) ## the same, against the last one kept; fails above FAIL_ABOVE=10% of the median
	$(BIN)/python -m pytest bench --benchmark-only --benchmark-compare --benchmark-compare-fail=median:$(FAIL_ABOVE)

clean: ## remove the environment, caches and runs/ (results/ stays)
	rm -rf .venv .benchmarks .mypy_cache .pytest_cache .ruff_cache runs site
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
