# Everything runs from .venv, which is created on first use from pyproject.toml and constraints.txt.

PYTHON ?= python3
BIN := .venv/bin
BIN310 := .venv310/bin
DIGITS := models/checkpoints/digits.pt

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
# The extra trt-check of pyproject.toml.
TRT_CHECK := tensorrt-rtx-cu13 tensorrt-lean-cu13

.PHONY: help demo test lint ruff clang-format mypy unit test-py310 native \
  hostile faults backend-models test-tensorrt test-tensorrt-quick rtx-zoo engine-probe differential fuzz test-min \
  test-triton container audit sbom modules foreign front docs check-site test-docs notebook redraw figures zoo bench costs \
  networks border-goals quantization \
  yardsticks tuning tuning-rivals selftest gpu-kit gpu serve-bench \
  serve-faults clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9._-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.venv: .venv/.stamp ## the development environment (PYTHON=python3.12 to choose the interpreter)

# The stamp is removed first and created last: an environment without it was interrupted, and is created again.
# PyTorch is installed first and alone, so that pip takes the build that it is configured to find (for example the CPU
# build) before another package requires PyTorch.
.venv/.stamp: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "make: development needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) -V 2>&1);" \
	    "try make PYTHON=python3.12"; exit 1; }
	@if [ -f $@ ]; then rm $@; else rm -rf .venv; $(PYTHON) -m venv .venv; fi
	@echo "Installing into .venv: some minutes, most of them for PyTorch"
	$(BIN)/python -m pip install -q -c constraints.txt torch scikit-build-core
	$(BIN)/python -m pip install -q -c constraints.txt --no-build-isolation -e '.[export,cpu,serve,sign,dev]'
	@touch $@

# --force: int8 does not make so small a network faster on every processor.
demo: .venv/.stamp ## export the digits network in float32 and int8, compare with PyTorch, measure the accuracy
	$(BIN)/rectexport $(DIGITS) -o out/digits
	$(BIN)/python -m rectexport.models.digits.data out/data
	$(BIN)/rectexport $(DIGITS) -o out/digits-int8 --int8 --calibrate out/data/train.npz \
	  --target onnxruntime,openvino --force
	$(BIN)/python -m rectexport.models.digits.accuracy $(DIGITS) out/digits out/digits-int8 \
	  --backend onnxruntime,openvino

# What needs one core each runs two at a time behind the tests, which need both.
test: ruff clang-format unit ## everything that a change must pass
	$(MAKE) --no-print-directory -j2 $(if $(filter output-sync,$(.FEATURES)),--output-sync=target) mypy native test-py310 test-tensorrt-quick

lint: ruff clang-format mypy ## style, formatting and types

ruff: .venv/.stamp ## style and formatting of Python
	$(BIN)/ruff check
	$(BIN)/ruff format --check

clang-format: .venv/.stamp ## formatting of C++ and CUDA
	$(BIN)/clang-format --dry-run --Werror $$(git ls-files '*.cpp' '*.cu' '*.h')

mypy: .venv/.stamp ## types
	$(BIN)/mypy

# One thread per worker: with more, the two workers' PyTorch threads compete for the same cores. The examples of
# Hypothesis are the same in every run; HYPOTHESIS_PROFILE=default draws new ones.
unit: .venv/.stamp ## the Python tests
	HYPOTHESIS_PROFILE=$${HYPOTHESIS_PROFILE:-ci} OMP_NUM_THREADS=1 $(BIN)/pytest -n 2

# As on a deployment machine: the built wheel and an engine, without PyTorch and ONNX. The package under test is
# exported in the development environment.
test-py310: .venv/.stamp ## the runtime's tests on Python 3.10, if it is installed
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

# For one architecture and PTX: that is enough for the tests, and compiling for all takes minutes.
native: .venv/.stamp ## build and test the TensorRT plugin, as far as compilers are installed
	@if ! command -v cmake >/dev/null || ! command -v c++ >/dev/null; then \
	  echo "native: skipped, cmake and a C++ compiler are not both on PATH"; exit 0; fi; set -ex; \
	cmake -S . -B build/native -DPython3_EXECUTABLE='$(CURDIR)/$(BIN)/python' \
	  -DCMAKE_CUDA_ARCHITECTURES='80-real;80-virtual'; \
	cmake --build build/native --parallel 2; \
	ctest --test-dir build/native --output-on-failure

hostile: .venv/.stamp ## all hostile inputs, and more damaged files than in the tests (6 minutes)
	$(BIN)/python -m tests.hostile.run

faults: .venv/.stamp ## interrupt every command at hundreds of moments, fill the disk (35 minutes)
	$(BIN)/python -m tests.faults.run
	$(BIN)/python -m tests.faults.full_disk

backend-models: .venv/.stamp ## run every pass on the onnx package's models and on torch layers (10 minutes)
	$(BIN)/python -m tests.foreign.run

# 0.4 GB. Whoever cannot install it learns why, and nothing fails. The quick part is of TensorRT for RTX alone.
NEEDS_TRT = said=$$($(BIN)/python -m pip install -q --timeout 15 --retries 1 -c constraints.txt $(1) 2>&1) || { \
  echo "$@: skipped, TensorRT for RTX cannot be installed here:"; echo "$$said" | tail -3; exit 0; }

test-tensorrt: .venv/.stamp ## parse and build in NVIDIA's own TensorRT, which needs no GPU (2 minutes)
	@$(call NEEDS_TRT,$(TRT_CHECK)); \
	OMP_NUM_THREADS=1 $(BIN)/pytest -rs tests/tensorrt_rtx/*.py tests/plugins/rectify/test_library.py

test-tensorrt-quick: .venv/.stamp ## a part of test-tensorrt, for make test (1 minute with the installation)
	@$(call NEEDS_TRT,$(firstword $(TRT_CHECK))); \
	OMP_NUM_THREADS=1 $(BIN)/pytest -rs -m quick tests/tensorrt_rtx/building.py tests/tensorrt_rtx/forms.py \
	  tests/tensorrt_rtx/running.py

rtx-zoo: .venv/.stamp ## parse and build the zoo in TensorRT for RTX; writes docs/rtx.json (hours; goes on where it was)
	$(BIN)/python -m pip install -q -c constraints.txt $(TRT_CHECK)
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.rtx

engine-probe: .venv/.stamp ## run every operator on ONNX Runtime and OpenVINO, compare with the table of faults (1 minute)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.differential.probe

SEED ?= 0
COUNT ?= 1000
differential: .venv/.stamp ## export COUNT random graphs and modules from SEED on, judge what the packages promise (20 minutes)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.differential.drawn.run --seed $(SEED) --count $(COUNT) \
	  --modules $$(($(COUNT) / 10))

FUZZ_SECONDS ?= 600
FUZZ_TARGETS ?= manifest shape_flags bounds checkpoint checkpoint_fields passes http_request grpc_request
fuzz: .venv/.stamp ## coverage-guided fuzzing, 10 minutes per target (FUZZ_SECONDS, FUZZ_TARGETS)
	$(BIN)/python -m pip install -q -c constraints.txt atheris
	for target in $(FUZZ_TARGETS); do $(BIN)/python -m tests.fuzz.run $$target $(FUZZ_SECONDS) || exit 1; done

# The oldest versions that pyproject.toml allows, in an environment of their own.
test-min: .venv-min/.stamp ## the tests of the runtime, the export and the command line with the oldest dependencies
	OMP_NUM_THREADS=1 .venv-min/bin/pytest tests/runtime tests/export tests/cli

# PyPI's nvidia-pytriton has a tritonserver for Linux on x86-64. Its Python backend needs NumPy 1, so it gets an
# environment of its own.
TRITON := nvidia-pytriton==0.7.0 'numpy<2' onnxruntime
test-triton: .venv/.stamp ## load what `rectexport triton` writes into a real tritonserver, if PyPI has one (3 minutes)
	@if [ "$$(uname -sm)" = 'Linux x86_64' ]; then $(MAKE) --no-print-directory .venv-triton/.stamp; fi
	OMP_NUM_THREADS=1 $(BIN)/pytest tests/tritonserver -rs

.venv-triton/.stamp: Makefile
	@rm -rf .venv-triton && $(PYTHON) -m venv .venv-triton
	.venv-triton/bin/python -m pip install -q $(TRITON)
	@touch $@

# For Linux on x86-64, PyPI has PyTorch 2.9.0 only as a CUDA build: 0.9 GB, and 2.5 GB of NVIDIA's libraries. test-min
# installs the CPU build where pip is configured to find one, else the version in constraints.txt, and says so.
# `make test-min TORCH_MIN=2.9.0` installs the CUDA build.
OLDEST_TORCH := $(shell sed -n 's/^torch==\([0-9.]*\).*/\1/p' constraints-min.txt)
TORCH_MIN ?= $(OLDEST_TORCH)$(if $(filter Linux-x86_64,$(shell uname -s)-$(shell uname -m)),+cpu)

.venv-min/.stamp: pyproject.toml constraints.txt constraints-min.txt
	@rm -rf .venv-min && $(PYTHON) -m venv .venv-min
	@grep -v '^torch==' constraints-min.txt > .venv-min/constraints.txt
	@.venv-min/bin/python -m pip install -q -c .venv-min/constraints.txt 'torch==$(TORCH_MIN)' 2>/dev/null || { \
	  echo 'test-min: pip finds no PyTorch $(TORCH_MIN); the tests run with the version in constraints.txt'; \
	  .venv-min/bin/python -m pip install -q $$(grep '^torch==' constraints.txt); }
	.venv-min/bin/python -m pip install -q -c .venv-min/constraints.txt scikit-build-core
	.venv-min/bin/python -m pip install -q -c .venv-min/constraints.txt --no-build-isolation -e '.[export,cpu,sign]' \
	  pytest hypothesis jsonschema
	@touch $@

audit: .venv/.stamp ## known vulnerabilities of the pinned dependencies (needs the network)
	$(BIN)/python -m pip install -q -c constraints.txt pip-audit
	$(BIN)/python -m tests.audit

container: ## build the image, and lint its Dockerfile, where Docker is
	@if ! command -v docker >/dev/null; then echo 'container: skipped, no Docker here'; exit 0; fi; set -ex; \
	docker run --rm -i hadolint/hadolint < deploy/Dockerfile; \
	docker build -f deploy/Dockerfile -t rectexport:cpu .

sbom: .venv/.stamp ## a bill of materials of the development environment, build/sbom.json (CycloneDX)
	$(BIN)/python -m pip install -q -c constraints.txt cyclonedx-bom
	@mkdir -p build
	$(BIN)/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible -o build/sbom.json $(BIN)/python
	@echo "build/sbom.json"

foreign: .venv-foreign/.stamp ## export networks from packages on PyPI; writes docs/models.md (hours; goes on where it was)
	OMP_NUM_THREADS=1 .venv-foreign/bin/python -m benchmarks.foreign

# An environment of its own, of some gigabytes: these packages need torchvision, which needs its own torch.
.venv-foreign/.stamp: benchmarks/foreign/networks.py
	$(PYTHON) -m venv .venv-foreign
	.venv-foreign/bin/python -m pip install -q torch torchvision
	.venv-foreign/bin/python -m pip install -q timm segmentation-models-pytorch effdet monai kornia spandrel resnest ultralytics
	.venv-foreign/bin/python -m pip install -q '.[export,cpu,openvino]'
	@touch $@

modules: .venv/.stamp ## draw the imports between folders; writes docs/modules.svg
	$(BIN)/python -m benchmarks.module_graph

front: .venv/.stamp ## measure an error at the border; writes the picture and the tables of README.md
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.front

docs: .venv/.stamp ## build the documentation site; writes build/site, without a network
	$(BIN)/python -m docs.site

check-site: docs ## open every page and a report in Chromium; axe-core, Lighthouse (needs node, npm, chromium; 10 minutes)
	npm install --silent --prefix build/axe axe-core@4 playwright-core@1 lighthouse@12
	$(BIN)/rectexport $(DIGITS) -o build/reports/digits --target onnxruntime,openvino
	$(BIN)/rectexport report build/reports/digits -o build/reports/report.html
	node docs/site/axe.mjs build/site build/reports
	node docs/site/lighthouse.mjs build/site/index.html build/reports/report.html

test-docs: .venv/.stamp ## run every command and program of the documentation (10 minutes)
	OMP_NUM_THREADS=1 $(BIN)/pytest tests/docs/test_pages.py tests/docs/other_pages.py --durations=0

notebook: .venv/.stamp ## run examples/tour.ipynb and keep what its cells showed (2 minutes)
	$(BIN)/python -m benchmarks.notebook

redraw: .venv/.stamp ## draw the plots of docs/ anew from the committed figures, without measuring
	$(BIN)/python -m benchmarks.forms --report
	$(BIN)/python -m benchmarks.serving --report
	$(BIN)/python -m benchmarks.front --speed

figures: .venv/.stamp ## measure parity and cost; writes docs/parity.md and docs/cost.md (15 minutes)
	$(BIN)/python -m benchmarks.parity
	$(BIN)/python -m benchmarks.cost

zoo: .venv/.stamp ## export every network of the zoo; writes docs/zoo.md (30 minutes)
	$(BIN)/python -m benchmarks.zoo

bench: .venv/.stamp ## time all forms; writes docs/benchmarks.md and plots (15 minutes, idle machine)
	$(BIN)/python -m benchmarks.forms

costs: .venv/.stamp ## the same, and replace the cost tables from which forms are chosen
	$(BIN)/python -m benchmarks.forms --write-costs

networks: .venv/.stamp ## time whole networks against other ways to run them; writes docs/networks.md (25 minutes at a time, idle machine)
	$(BIN)/python -m benchmarks.networks

border-goals: .venv/.stamp ## time borders against zero padding, and masks; writes docs/boundaries.md (25 minutes, idle machine)
	$(BIN)/python -m benchmarks.borders.goals

quantization: .venv/.stamp ## train a rectified ResNet-20, measure int8; writes docs/quantization.md (10 minutes)
	$(BIN)/python -m benchmarks.quantization

tuning: .venv/.stamp ## compare rectexport tune with exhaustive searches; writes docs/tuning.md (1.5 hours, idle machine)
	$(BIN)/python -m benchmarks.attribution
	$(BIN)/python -m benchmarks.tuning_runs

# Olive needs its own torch and transformers. What it writes is timed from .venv, so both have the same ONNX Runtime.
OLIVE := olive-ai==0.13.0 psutil requests onnxruntime
.venv-olive/.stamp: .venv/.stamp
	@rm -rf .venv-olive; $(PYTHON) -m venv .venv-olive
	.venv-olive/bin/python -m pip install -q -c constraints.txt torch
	.venv-olive/bin/python -m pip install -q -c constraints.txt $(OLIVE)
	@touch $@

tuning-rivals: .venv-olive/.stamp ## time rectexport tune beside Olive and engines' defaults; writes docs/tuning.md (25 minutes, idle machine)
	$(BIN)/python -m benchmarks.tuning_rivals --python .venv-olive/bin/python
	$(BIN)/python -m benchmarks.rectified_share

# nvidia-modelopt pins another onnx and brings CUDA's PyTorch, so the tools get no dependencies of their own here: they
# share the packages of .venv.
YARDSTICKS := nncf==3.4.0 nvidia-modelopt==0.47.0 lief psutil tabulate pydot networkx natsort onnxconverter-common \
  onnxslim polygraphy onnxruntime-extensions pymoo autograd cma dill Deprecated wrapt scipy omegaconf cppimport pulp \
  openvino-telemetry nvidia-ml-py tqdm antlr4-python3-runtime==4.9.3 ninja pandas about-time alive-progress grapheme

.venv-yardsticks/.stamp: .venv/.stamp
	@rm -rf .venv-yardsticks; $(BIN)/python -m venv .venv-yardsticks
	@$(BIN)/python -c 'import onnx; print(onnx.__path__[0].rpartition("/")[0])' \
	  > "$$(.venv-yardsticks/bin/python -c 'import site; print(site.getsitepackages()[0])')/shared.pth"
	.venv-yardsticks/bin/pip install -q --no-deps $(YARDSTICKS)
	@touch $@

yardsticks: .venv-yardsticks/.stamp ## int8 beside other quantizers; writes docs/quantization.md (20 minutes)
	$(BIN)/python -m benchmarks.int8_yardsticks

selftest: .venv/.stamp ## check that bench finds equal models equal; writes docs/latency.md (10 minutes)
	$(BIN)/python -m benchmarks.selftest --anew
	$(BIN)/python -m benchmarks.selftest --anew --loaded
	$(BIN)/python -m benchmarks.selftest --anew --control --runs 10

gpu-kit: .venv/.stamp ## write build/gpu-kit, what a machine with a GPU and no network needs for `make gpu`
	$(BIN)/python -m benchmarks.gpu.kit

# Needs the kit and a Python with PyTorch, not .venv. GPU_DRY=1 writes the kit without the wheels of others, and runs
# every line of it on the CPU.
GPU_PYTHON ?= $(if $(GPU_DRY),$(BIN)/python,python3)
gpu: $(if $(GPU_DRY),gpu-dry-kit) ## on a GPU: test and measure in one call of 9 minutes; writes docs/gpu (GPU_DRY=1 without)
	$(GPU_PYTHON) build/gpu-kit/run.py $(if $(GPU_DRY),--dry)

.PHONY: gpu-dry-kit
gpu-dry-kit: .venv/.stamp
	$(BIN)/python -m benchmarks.gpu.kit --offline

serve-bench: .venv/.stamp ## measure serving under load; writes docs/serving.md (15 minutes, idle machine)
	@if [ "$$(uname -sm)" = 'Linux x86_64' ]; then $(MAKE) --no-print-directory .venv-triton/.stamp; fi
	$(BIN)/python -m benchmarks.serving --only latency --only throughput --only tiny --only resnet --only first \
	  --only shadow

serve-faults: .venv/.stamp ## long tests of serving: kill -9, malformed requests, memory (10 minutes)
	$(BIN)/pytest tests/runtime/serving/long_faults.py

clean: ## remove build outputs and environments
	rm -rf .venv .venv310 .venv-min .venv-yardsticks .venv-olive build dist out .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
