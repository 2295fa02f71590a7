# Everything runs from .venv, which is made on first use from pyproject.toml and constraints.txt.

PYTHON ?= python3
BIN := .venv/bin
BIN310 := .venv310/bin
DIGITS := models/checkpoints/digits.pt

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help demo test lint ruff clang-format mypy unit test-py310 native \
  hostile faults backend-models engine-probe fuzz test-min audit sbom \
  figures zoo bench costs selftest gpu-packages gpu-test gpu-bench serve-bench serve-faults clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9._-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.venv: .venv/.stamp ## the development environment (PYTHON=python3.12 to choose the interpreter)

# The stamp goes first and comes back last: an environment without one was interrupted, and is made
# anew. PyTorch comes first, alone, so that the version in constraints.txt is taken as it is found
# (a CPU build, where pip is configured to find one) before anything else asks for it.
.venv/.stamp: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "make: development needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) -V 2>&1);" \
	    "try make PYTHON=python3.12"; exit 1; }
	@if [ -f $@ ]; then rm $@; else rm -rf .venv; $(PYTHON) -m venv .venv; fi
	@echo "Installing into .venv: some minutes, most of them for PyTorch"
	$(BIN)/python -m pip install -q -c constraints.txt torch scikit-build-core
	$(BIN)/python -m pip install -q -c constraints.txt --no-build-isolation -e '.[export,cpu,serve,sign,dev]'
	@touch $@

demo: .venv/.stamp ## export the digits network, compare it with PyTorch, and measure its accuracy
	$(BIN)/rectexport $(DIGITS) -o out/digits
	$(BIN)/python -m rectexport.models.digits.accuracy $(DIGITS) out/digits

test: lint unit test-py310 native ## everything that a change must pass

lint: ruff clang-format mypy ## style, formatting and types

ruff: .venv/.stamp ## style and formatting alone
	$(BIN)/ruff check
	$(BIN)/ruff format --check

clang-format: .venv/.stamp ## formatting of the native sources
	$(BIN)/clang-format --dry-run --Werror $$(git ls-files '*.cpp' '*.cu' '*.h')

mypy: .venv/.stamp ## types alone
	$(BIN)/mypy

# One thread each: two workers whose PyTorch takes every core spend their time waiting for each other.
unit: .venv/.stamp ## the tests
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2

# What a deployment machine has: the built wheel, an engine, and neither PyTorch nor ONNX. The package
# under test comes from the development environment.
test-py310: .venv/.stamp ## the runtime's tests on Python 3.10, where there is one
	@for p in python3.10 $$HOME/.pyenv/versions/3.10*/bin/python3.10; do \
	  if $$p -c 'import sys; sys.exit(sys.version_info[:2] != (3, 10))' 2>/dev/null; then \
	    exec $(MAKE) --no-print-directory PYTHON310=$$p on-py310; fi; done; \
	echo "test-py310: skipped, no Python 3.10 on PATH or under ~/.pyenv/versions"

.PHONY: on-py310
on-py310: .venv310/.stamp
	rm -rf out/test-package build/wheel
	$(BIN)/rectexport $(DIGITS) -o out/test-package --json >/dev/null
	$(BIN)/python -m pip wheel -q --no-index --no-deps --no-build-isolation -w build/wheel .
	$(BIN310)/python -m pip install -q --no-index --no-deps --force-reinstall build/wheel/*.whl
	$(BIN310)/python -m pip check
	RECTEXPORT_TEST_PACKAGE='$(CURDIR)/out/test-package' $(BIN310)/pytest tests/runtime

.venv310/.stamp: constraints.txt
	@rm -rf .venv310
	$(PYTHON310) -m venv .venv310
	$(BIN310)/python -m pip install -q -c constraints.txt numpy onnxruntime typer rich pytest
	@touch $@

# For one architecture and PTX: the tests need no more, and all of them take minutes.
native: .venv/.stamp ## the TensorRT plugin and its tests, as far as there are compilers
	@if ! command -v cmake >/dev/null || ! command -v c++ >/dev/null; then \
	  echo "native: skipped, cmake and a C++ compiler are not both on PATH"; exit 0; fi; set -ex; \
	cmake -S . -B build/native -DPython3_EXECUTABLE='$(CURDIR)/$(BIN)/python' \
	  -DCMAKE_CUDA_ARCHITECTURES='80-real;80-virtual'; \
	cmake --build build/native --parallel 2; \
	ctest --test-dir build/native --output-on-failure

hostile: .venv/.stamp ## every hostile input, more damaged ones than the tests have (2 minutes)
	$(BIN)/python -m tests.hostile.run

faults: .venv/.stamp ## interrupt every command at hundreds of moments (20 minutes)
	$(BIN)/python -m tests.faults.run
	$(BIN)/python -m tests.faults.full_disk

backend-models: .venv/.stamp ## every pass on the models of the onnx package and on every kind of torch layer (10 minutes)
	$(BIN)/python -m tests.foreign.run

engine-probe: .venv/.stamp ## every operator on ONNX Runtime and OpenVINO, held against export/engine_facts/facts.json (1 minute)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.differential.probe

FUZZ_SECONDS ?= 600
FUZZ_TARGETS ?= manifest shape_flags bounds checkpoint checkpoint_fields passes http_request grpc_request
fuzz: .venv/.stamp ## coverage-guided fuzzing, ten minutes a target (FUZZ_SECONDS, FUZZ_TARGETS)
	$(BIN)/python -m pip install -q -c constraints.txt atheris
	for target in $(FUZZ_TARGETS); do $(BIN)/python -m tests.fuzz.run $$target $(FUZZ_SECONDS) || exit 1; done

# The oldest versions that pyproject.toml allows, in an environment of their own.
test-min: .venv-min/.stamp ## the tests of the runtime and the export with the oldest dependencies
	OMP_NUM_THREADS=1 .venv-min/bin/pytest tests/runtime tests/export

.venv-min/.stamp: pyproject.toml constraints-min.txt
	@rm -rf .venv-min && $(PYTHON) -m venv .venv-min
	.venv-min/bin/python -m pip install -q -c constraints-min.txt torch scikit-build-core
	.venv-min/bin/python -m pip install -q -c constraints-min.txt --no-build-isolation -e '.[export,cpu,sign]' \
	  pytest hypothesis jsonschema
	@touch $@

audit: .venv/.stamp ## known vulnerabilities of the pinned dependencies (needs the network)
	$(BIN)/python -m pip install -q -c constraints.txt pip-audit
	$(BIN)/python -m tests.audit

sbom: .venv/.stamp ## a bill of materials of the development environment, build/sbom.json (CycloneDX)
	$(BIN)/python -m pip install -q -c constraints.txt cyclonedx-bom
	@mkdir -p build
	$(BIN)/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible -o build/sbom.json $(BIN)/python
	@echo "build/sbom.json"

figures: .venv/.stamp ## measure again what docs/parity.md and docs/cost.md say (15 minutes)
	$(BIN)/python -m benchmarks.parity
	$(BIN)/python -m benchmarks.cost

zoo: .venv/.stamp ## export every network of the zoo and write docs/zoo.md (half an hour)
	$(BIN)/python -m benchmarks.zoo

bench: .venv/.stamp ## measure all forms; docs/benchmarks.md and its plots (15 minutes, on an idle machine)
	$(BIN)/python -m benchmarks.forms

costs: .venv/.stamp ## the same, and replace the cost tables that forms are chosen by
	$(BIN)/python -m benchmarks.forms --write-costs

selftest: .venv/.stamp ## show that rectexport bench does not tell a model from itself; docs/latency.md (10 minutes)
	$(BIN)/python -m benchmarks.selftest --anew
	$(BIN)/python -m benchmarks.selftest --anew --loaded
	$(BIN)/python -m benchmarks.selftest --anew --control --runs 10

# The GPU's machine needs the runtime alone: what is exported, and the package itself, are laid out in build/gpu
# where PyTorch is. Its Python is .venv's, where there is one, or the one on PATH: make gpu-test GPU_PYTHON=python3.10
GPU_PYTHON ?= $(if $(wildcard $(BIN)/python),$(BIN)/python,python3)
ON_GPU := PYTHONPATH="$(CURDIR)/build/gpu/site:$(CURDIR):$$PYTHONPATH" $(GPU_PYTHON)

gpu-packages: .venv/.stamp ## export what gpu-test and gpu-bench run, into build/gpu (15 minutes, no GPU)
	rm -rf build/gpu
	$(BIN)/python -m pip install -q --no-index --no-deps --no-build-isolation --target build/gpu/site .
	$(BIN)/python -m benchmarks.gpu.prepare

gpu-test: ## on a GPU: engines of every precision, compared with the goldens (9 minutes)
	$(ON_GPU) -m benchmarks.gpu.test

gpu-bench: ## on a GPU: latency of every form (9 minutes)
	$(ON_GPU) -m benchmarks.gpu.bench

serve-bench: .venv/.stamp ## measure serving under load; docs/serving.md (ten minutes, on an idle machine)
	$(BIN)/python -m benchmarks.serving --only latency --only throughput --only tiny --only resnet --only first

serve-faults: .venv/.stamp ## serving under faults, at length: kill -9, malformed requests, memory (ten minutes)
	$(BIN)/pytest tests/runtime/serving/long_faults.py

clean: ## remove what was built, and the environments
	rm -rf .venv .venv310 .venv-min build dist out .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
