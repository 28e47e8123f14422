# Two commands from a bare clone: `make demo` and `make test`. `make` alone prints this list.
PYTHON ?= python3
TORCH_VERSION := 2.13.0
# PyPI's wheel for Linux x86-64 brings several GB of CUDA: take the CPU build where no NVIDIA driver is found.
ifeq ($(shell uname -sm)$(shell command -v nvidia-smi 2>/dev/null),Linux x86_64)
TORCH ?= --retries 1 --extra-index-url https://download.pytorch.org/whl/cpu torch==$(TORCH_VERSION)+cpu
else
TORCH ?= torch==$(TORCH_VERSION)
endif
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq

.PHONY: help env demo test test-slow field conformance serve lint format openapi docs bench fuzz browser-test clients-check protocols-check \
  full-size gpu-check gpu-wheels label-studio-check ray-check soak soak-jobs storm pocket pocket-heads wheel image-check clean

help:  ## print this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

env: .venv/.installed  ## create .venv with tested versions of everything, torch first

.venv/.installed: pyproject.toml clients/python/pyproject.toml constraints.txt
	@sh docker/system-packages.sh $(PYTHON) tests
	$(PYTHON) -m venv .venv
	$(PIP) install --upgrade pip
	$(PIP) install $(TORCH)
	$(PIP) install -c constraints.txt -e '.[training]' -e clients/python --group dev
	@touch $@

demo: env  ## start the server, send real files through every route, print the accuracy, write pictures to out/
	$(BIN)/diffsight demo --out out

test: env  ## all tests but the slow ones
	$(BIN)/python -m pytest -n auto --dist worksteal -m 'not slow and not gpu'

browser-test: env  ## the playground in a browser: every panel against a real server, screenshots in out/playground/
	$(BIN)/python -m pytest tests/playground -m 'slow or not slow'

test-slow: env  ## the tests that take minutes
	$(BIN)/python -m pytest -m slow

field: env  ## the tests of inputs that real programs and people send: odd names, layouts, formats and clients
	$(BIN)/python -m pytest -n auto -m field

conformance: env  ## replay fixtures of the original systems: make conformance DIR="folder ..."
	$(BIN)/python -m tests.conformance $(or $(DIR),$(wildcard tests/conformance/fixtures/*))

serve: env  ## serve the embedded backbone on http://127.0.0.1:8000
	$(BIN)/diffsight serve

lint: env  ## ruff, mypy, import contracts, generated documentation
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m cogapp --check docs/*.md

format: env  ## let ruff format and fix what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

openapi: env  ## write openapi/openapi.json from the application, and what of clients/python follows from it
	$(BIN)/python -m diffsight.openapi_document
	$(BIN)/python -m clients.generate

clients-check: env  ## generate clients by four generators, compile them, and call a real server with each (Node needed)
	$(BIN)/python -m clients.check $(GENERATORS)

docs: env  ## rewrite the generated blocks of docs/
	$(BIN)/python -m cogapp -r docs/*.md

bench: env  ## every benchmark, figures as JSON in out/bench/
	$(BIN)/python -m benchmarks --out out/bench

full-size: env  ## every task once with checkpoints of the published sizes: 40 GB of disk, 24 GB of memory, an hour; ARGS=--small tries it
	$(BIN)/python -m benchmarks._full_size --json out/full-size.json $(ARGS)

# Where there is no network, the environment that has torch, with wheels that `make gpu-wheels` brought, must do.
GPU_PYTHON ?= $(if $(wildcard $(BIN)/python),$(BIN)/python,$(PYTHON))
gpu-check:  ## all that a GPU has to show, in nine minutes and without a network: JSON and a page in out/; ARGS=--dry-run tries it
	@test ! -d gpu-wheels || $(GPU_PYTHON) -m pip install -q --no-index --no-deps --upgrade --target gpu-wheels/site gpu-wheels/*.whl
	PYTHONPATH=$(CURDIR):$(CURDIR)/gpu-wheels/site $(GPU_PYTHON) -m benchmarks.gpu_check $(ARGS)

GPU_PLATFORMS := $(foreach of,manylinux_2_28 manylinux_2_27 manylinux_2_17 manylinux2014 manylinux1,--platform $(of)_x86_64)
gpu-wheels:  ## fetch what `make gpu-check` needs beside torch into gpu-wheels/, for a machine without a network
	mkdir -p gpu-wheels
	grep '^onedl' benchmarks/gpu_check/wheels.txt | xargs $(PYTHON) -m pip wheel -q --no-deps -w gpu-wheels
	grep '^[a-np-z]' benchmarks/gpu_check/wheels.txt | xargs -d '\n' $(PYTHON) -m pip download -q --no-deps --only-binary=:all: \
	  --python-version 3.12 --implementation cp $(GPU_PLATFORMS) -d gpu-wheels

fuzz: env  ## generated requests and damaged images against a real server; the last line counts what they found
	$(BIN)/python -m tests.fuzz $(FUZZ)

protocols-check: env .venv-inference-sdk/.installed  ## every call of docs/protocols.md by its real client; the last line counts them
	$(BIN)/python -m tests.protocols --sdk .venv-inference-sdk/bin/python

# Roboflow's client wants other versions than ours.
.venv-inference-sdk/.installed: tests/protocols/inference-sdk.txt
	$(PYTHON) -m venv .venv-inference-sdk
	.venv-inference-sdk/bin/python -m pip --disable-pip-version-check -qq install -r $<
	@touch $@

soak-jobs: env  ## a job of 2,000 images on a server that is killed hard five times: make soak-jobs SOAK="--images 200"
	$(BIN)/python -m tests.soak.jobs $(SOAK)

ray-check: env  ## a job and the service on a real Ray cluster while nodes and replicas die: make ray-check RAY="--images 60"
	$(BIN)/python -m tests.cluster $(RAY)

soak: env  ## the engine at saturation for ten minutes, with faults and vanishing clients: make soak SOAK="--seconds 60"
	$(BIN)/python -m tests.soak.engine $(SOAK)

storm: env  ## 200 clients, a third vanishing, hostile ones among them, for five minutes: make storm STORM="--seconds 60"
	$(BIN)/python -m tests.soak.storm $(STORM)

pocket: env  ## train the embedded backbone from nothing; resumes where it was stopped
	$(BIN)/python -m training.pocket train

FIT := $(BIN)/diffsight fit
DENSE := --out heads/vpd/pocket --width 32 --held-out training/world/held_out/scenes
pocket-heads: env  ## fit the heads of the embedded backbone to the rendered world (the better part of an hour on 2 cores)
	test -d runs/world/training || $(BIN)/python -m training.world runs/world/training --scenes 14000 --seed 1
	$(FIT) depth runs/world/training --examples 2500 --epochs 8 $(DENSE)
	$(FIT) segmentation runs/world/training --examples 5000 --epochs 10 $(DENSE)
	$(FIT) referring runs/world/training --examples 8000 --epochs 8 $(DENSE)
	$(FIT) pose runs/world/training/instances.json --images runs/world/training/images \
	  --out heads/sdpose/pocket --steps 1500 --held-out training/world/held_out/scenes/instances.json \
	  --held-out-images training/world/held_out/scenes/images
	$(FIT) few-shot runs/world/training/images runs/world/training/semantic --out heads/diffews/pocket \
	  --hold-out 1 --examples 2600 --steps 3500 --batch 6 --shots 5 --learning-rate 3e-4 --part attn1 --part conv_out --half

wheel: env  ## build the source distribution and the wheel into dist/
	$(BIN)/python -m build

image-check:  ## build the CPU image without a container engine, start it, ask it something (Debian, as root)
	$(PYTHON) docker/image_check.py $(ARGS)

STUDIO := .label-studio
label-studio-check: env  ## scenes of annotators in a real Label Studio and a real browser (downloads it; needs chromium)
	@test -x $(STUDIO)/bin/label-studio || { $(PYTHON) -m venv $(STUDIO) && \
	  $(STUDIO)/bin/pip install -q label-studio==1.23.2 playwright==1.65.2; }
	@command -v chromium > /dev/null || { echo "install chromium first: apt-get install chromium"; exit 1; }
	$(STUDIO)/bin/python -m tests.label_studio out/label-studio $(SCENES)

clean:  ## remove the environment and everything generated
	rm -rf .venv .venv-inference-sdk .label-studio gpu-wheels build dist out *.egg-info .pytest_cache .mypy_cache .ruff_cache
