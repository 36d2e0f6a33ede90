# Two commands: `make reproduce` sets up and runs rows, `make test` sets up and tests. Everything else is for developers.
ROW ?= inspo/*
GATE ?= inspo/*
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TORCH := 2.13.0
# Where the CPU build of torch comes from; `make cuda` puts the CUDA build in its place.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
# What rows need (READY), rows of MuJoCo besides (MUJOCO), and developers besides (DEV).
READY := $(VENV)/.ready
MUJOCO := $(VENV)/.ready-mujoco
DEV := $(VENV)/.ready-dev
SMAX := $(VENV)/.ready-smax
PAPER = $(firstword $(subst /, ,$(ROW)))
WITH_MUJOCO = $(findstring mujoco,$(ROW))$(findstring omiga,$(ROW))$(filter comadice omsd claims,$(PAPER))$(findstring *,$(PAPER))
NEEDED = $(READY) $(if $(WITH_MUJOCO),$(MUJOCO))
INSTALL := $(BIN)/pip install --no-deps --require-hashes -r

.PHONY: reproduce test test-slow lint gate bench cuda gpu docs locks smax clean

# Runs the row or glob, then writes the report whatever the verdict; exits with the verdict's code. A signal reaches the
# command also where it is sent to make alone; then its code is 130 or 143, and no report is written.
reproduce: $(NEEDED)
	@trap 'sent=130; kill -TERM $$pid' INT; trap 'sent=143; kill -TERM $$pid' TERM; \
	$(BIN)/reproduce '$(ROW)' & pid=$$!; wait $$pid; status=$$?; \
	if [ -n "$$sent" ]; then wait $$pid; exit $$sent; fi; \
	[ $$status -ge 128 ] || $(BIN)/reproduce report; \
	exit $$status

test: $(DEV)
	$(BIN)/pytest -n auto -m 'not slow'

# Kills and resumes, launchers, queues, the compiler, a new algorithm in a copy of the checkout.
test-slow: $(DEV)
	$(BIN)/pytest -n auto -m slow

lint: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

gate: $(DEV)
	$(BIN)/reproduce gate '$(GATE)'

bench: $(DEV)
	$(BIN)/python benchmarks

# The CUDA build of torch of the same version in place of the CPU build, once it is there; then NVIDIA's libraries (gigabytes).
cuda: $(MUJOCO)
	$(BIN)/pip install --index-url https://pypi.org/simple --force-reinstall --no-deps torch==$(TORCH)
	$(BIN)/pip install --index-url https://pypi.org/simple torch==$(TORCH)

# Checks what a GPU computes, then runs QUEUES there, JOBS rows at a time; without a GPU it says so (code 4).
QUEUES ?= $(addprefix configs/queue/,particle_worlds.yaml particle_matrix.yaml omiga_baselines.yaml full_budget.yaml)
JOBS ?= 2
gpu: $(DEV)
	@! command -v nvidia-smi > /dev/null || $(BIN)/python -c 'import torch; assert torch.version.cuda' 2> /dev/null || $(MAKE) cuda
	$(BIN)/python benchmarks/gpu.py --jobs $(JOBS) $(QUEUES)

# The documentation site, into outputs/site; a number that no record holds ends the build. The variables mute advertising.
docs: $(DEV)
	NO_MKDOCS_2_WARNING=1 DISABLE_MKDOCS_2_WARNING=true $(BIN)/mkdocs build --strict

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14) and "Python 3.11 to 3.13 is needed; set PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --no-deps torch==$(TORCH)+cpu || $(BIN)/pip install --no-deps --index-url $(TORCH_INDEX) torch==$(TORCH)
	$(INSTALL) requirements.lock
	$(BIN)/pip install --no-deps -e .
	touch $(READY)

$(MUJOCO): $(READY) requirements-mujoco.lock
	$(INSTALL) requirements-mujoco.lock
	touch $(MUJOCO)

# StarCraft-like fights (task=smax): jaxmarl and what it needs.
smax: $(SMAX)

$(SMAX): $(READY) requirements-smax.lock
	$(INSTALL) requirements-smax.lock
	touch $(SMAX)

$(DEV): $(READY) requirements-dev.lock
	$(INSTALL) requirements-dev.lock
	touch $(DEV)

# Writes the locks anew, at the versions that they name where pyproject.toml allows them; needs uv.
CUDA := triton $(addprefix cuda-,bindings pathfinder toolkit) $(addprefix nvidia-,cublas cuda-cupti cuda-nvrtc cuda-runtime \
	cudnn-cu13 cufft cufile curand cusolver cusparse cusparselt-cu13 nccl-cu13 nvjitlink nvshmem-cu13 nvtx)
LOCK := uv pip compile --quiet --generate-hashes --universal --no-annotate $(addprefix --no-emit-package ,torch $(CUDA)) pyproject.toml
locks: export UV_CUSTOM_COMPILE_COMMAND = make locks
locks:
	$(LOCK) --python-version 3.11 --output-file requirements.lock
	$(LOCK) --python-version 3.11 --extra mujoco --output-file requirements-mujoco.lock
	$(LOCK) --python-version 3.11 --extra mujoco --extra smax --output-file requirements-smax.lock
	$(LOCK) --python-version 3.11.5 $(addprefix --extra ,mujoco vault launchers fetch dev docs) --output-file requirements-dev.lock

clean:
	rm -rf $(VENV) outputs build *.egg-info
