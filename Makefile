# Needs Python 3.11 or newer, and make. Everything else is installed into $(VENV), in the versions of constraints.txt.

PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3 python; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $$p && break; done)
VENV ?= .venv
GPU_VENV ?= .venv-warp
GPU_PYTHON ?= python3
ARGS ?=
WORKERS ?= 2

BIN := $(VENV)/bin
SOURCES := torchrl_htrpo tests recipes benchmarks docs

# Several times faster on shared cores: idle OpenMP threads sleep, and freed tensors stay with the process instead of
# being returned to the system and faulted in again (MALLOC_* are read by glibc only; they cost memory).
HEAVY := OMP_WAIT_POLICY=PASSIVE MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=100000000000 MALLOC_TOP_PAD_=67108864
# Single-threaded tests on several workers; RL_WARNINGS=0 silences torchrl's advice.
LIGHT := OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE RL_WARNINGS=0

.PHONY: help train test lint docs pytest bench gpu gpuhere audit clean

help:  ## show the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

train: $(VENV)/.robotics  ## train HTRPO on FetchReach (ARGS='task=push' for another task or setting)
	$(HEAVY) $(BIN)/python recipes/htrpo.py task=reach $(if $(findstring task=,$(ARGS)),,preset=fast) $(ARGS)

test: $(VENV)/.dev lint docs pytest  ## lint, types, documentation, tests and doctests

lint: $(VENV)/.dev
	$(BIN)/ruff check $(wildcard $(SOURCES))
	$(BIN)/ruff format --check $(wildcard $(SOURCES))
	$(BIN)/mypy

docs: $(VENV)/.dev  ## build the documentation into docs/_build/html, warnings are errors
	rm -rf docs/api  # names that are gone leave their pages behind
	$(LIGHT) $(BIN)/python -m sphinx -q -W --keep-going -b html docs docs/_build/html

pytest: $(VENV)/.dev lint docs
	$(LIGHT) $(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal $(ARGS)

bench: $(VENV)/.dev  ## the benchmarks that need no GPU
	set -e; for script in $(filter-out %_gpu.py,$(wildcard benchmarks/bench_*.py)); do echo "# $$script"; $(HEAVY) $(BIN)/python $$script $(ARGS); done

gpu: $(GPU_VENV)/.dev  ## on a machine with a CUDA GPU: every test and benchmark that needs one, and whole runs
	$(GPU_VENV)/bin/python benchmarks/gpu_checks.py $(ARGS)

gpuhere:  ## the same with what $(GPU_PYTHON) can import, installing nothing
	PYTHONPATH=$(CURDIR):$$PYTHONPATH $(GPU_PYTHON) benchmarks/gpu_checks.py $(ARGS)

audit: ## ask about known vulnerabilities of the tested set; what cannot be asked about fails
	test -x $(VENV)-audit/bin/pip-audit || { $(PYTHON) -m venv $(VENV)-audit && $(VENV)-audit/bin/pip install -q pip-audit==2.10.1; }
	$(VENV)-audit/bin/pip-audit --strict --no-deps --disable-pip -r constraints.txt $(ARGS)

clean:  ## remove the environments and everything built
	rm -rf $(VENV) $(VENV)-audit $(GPU_VENV) docs/_build docs/gallery docs/api build dist

$(VENV)/.venv $(GPU_VENV)/.venv:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer (with venv) is needed: make PYTHON=/path/to/python3.11"; exit 1; }
	test -x $(@D)/bin/pip || $(PYTHON) -m venv $(@D)
	@touch $@

$(VENV)/.robotics: pyproject.toml constraints.txt | $(VENV)/.venv
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[robotics]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/.venv
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[robotics,atari,ray,results,sweeps,test,docs]'
	@touch $@ $(VENV)/.robotics

# mujoco_warp wants a newer mujoco than gymnasium-robotics bears: its own environment, the same set otherwise.
$(GPU_VENV)/.dev: pyproject.toml constraints.txt | $(GPU_VENV)/.venv
	grep -v '^mujoco==' constraints.txt > $(GPU_VENV)/constraints.txt
	$(GPU_VENV)/bin/python -m pip install -q -c $(GPU_VENV)/constraints.txt -e '.[warp,test]'
	@touch $@
