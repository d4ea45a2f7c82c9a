# Each target sets up what it needs in a virtual environment (scripts/environment.sh), then runs its commands.
#
#     VENV=FOLDER   the environment, .venv
#     PYTHON=PATH   the Python to make it with; the newest supported one that is found
#     EXTRAS=cuda   more of pyproject.toml's extras to install
#     DRY_RUN=1     test-gpu and bench-gpu on the CPU, shortened
#     ARGS="..."    more arguments for the command, as ARGS="--training.steps 100"
#     KILLS=30      random kills of each model in test-faults
#
# FLAXCNN_KERNELS=xla in the environment: no oneDNN, nothing compiled; convolutions run on XLA.

VENV = .venv
EXTRAS =
ARGS =
KILLS = 30

setup = @sh scripts/environment.sh '$(VENV)'

.PHONY: help train sweep docs test test-zoo test-export test-mlflow test-parity test-slow test-xla test-faults test-fuzz test-devices test-sweeps test-benchmarks test-gpu test-lowest test-native test-asan lint bench bench-gpu results wheel clean
.NOTPARALLEL:

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1|\2/p' Makefile | awk -F '|' '{ printf "%-18s %s\n", $$1, $$2 }'

train: ## train the paper's CNN on MNIST for one epoch
	$(setup) $(EXTRAS)
	'$(VENV)/bin/python' train.py $(ARGS)

sweep: ## search a learning rate and a schedule for the paper's CNN (some 10 minutes with ARGS="--confirm 5")
	$(setup) sweep $(EXTRAS)
	'$(VENV)/bin/python' -m flaxcnn sweep $(ARGS)

# Two processes, a file of tests at a time: most of a test's time is compilation, on one core. The files that take
# longest come first (tests/conftest.py), so that neither process waits long for the other at the end.
PARALLEL = -n 2 --dist loadfile --no-loadscope-reorder
QUICK = 'not benchmarks and not devices and not faults and not sweeps and not gpu and not slow and not zoo and not parity'

test: ## run the tests, but for those of the targets below
	$(setup) test $(EXTRAS)
	'$(VENV)/bin/python' -m pytest $(PARALLEL) -m $(QUICK) $(ARGS)

test-slow: ## run the tests that take longest (some 17 minutes)
	$(setup) test $(EXTRAS)
	'$(VENV)/bin/python' -m pytest $(PARALLEL) -m slow $(ARGS)

test-zoo: ## take every model of the zoo through a step of training, other platforms and both dtypes (some 20 minutes)
	$(setup) test $(EXTRAS)
	'$(VENV)/bin/python' -m pytest $(PARALLEL) -m zoo $(ARGS)

test-export: ## write one model of each family of the zoo as ONNX, and run it in ONNX Runtime (some 10 minutes)
	$(setup) test $(EXTRAS)
	'$(VENV)/bin/python' -m pytest $(PARALLEL) -m 'zoo or slow or not slow' tests/export $(ARGS)

test-parity: ## hold every model to torchvision's and Keras' (some 20 minutes; needs Debian's python3-torchvision, and FLAXCNN_KERAS_PYTHON=PATH, a Python with keras and jax)
	$(setup) test $(EXTRAS)
	'$(VENV)/bin/python' -m pytest -m parity tests/parity tests/models $(ARGS)

test-mlflow: ## hold what a real MLflow server stores against runs, killed and without it (some 3 minutes; installs mlflow, 0.8 GB, in .venv-mlflow)
	$(setup) test $(EXTRAS)
	@[ -x .venv-mlflow/bin/mlflow ] || { '$(VENV)/bin/python' -m venv .venv-mlflow && .venv-mlflow/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints/mlflow.txt mlflow; }
	FLAXCNN_MLFLOW_PYTHON="$$PWD/.venv-mlflow/bin/python" '$(VENV)/bin/python' -m pytest tests/runs/test_mlflow_server.py $(ARGS)

test-xla: ## run the tests of layers, training and runs' bits without the native convolutions (some 4 minutes)
	$(setup) test $(EXTRAS)
	FLAXCNN_KERNELS=xla '$(VENV)/bin/python' -m pytest $(PARALLEL) -m 'not benchmarks and not devices and not faults and not gpu and not slow and not zoo' --ignore-glob '*augmentation*' tests/layers tests/training tests/runs/test_kernels.py tests/runs/test_faults.py tests/test_pinned.py $(ARGS)

test-devices: ## run the tests that train on eight devices, in two and in four processes (some 6 minutes)
	$(setup) test $(EXTRAS)
	'$(VENV)/bin/python' -m pytest $(PARALLEL) -m devices $(ARGS)

test-sweeps: ## run the tests of sweeps that train: killed, shared on a PostgreSQL server, on Ray (some 12 minutes)
	$(setup) test $(EXTRAS)
	'$(VENV)/bin/python' -m pytest $(PARALLEL) -m sweeps $(ARGS)

test-benchmarks: ## run the tests of the benchmarks (some 4 minutes)
	$(setup) test $(EXTRAS)
	'$(VENV)/bin/python' -m pytest $(PARALLEL) -m benchmarks $(ARGS)

test-gpu: ## run the tests that need a GPU, with EXTRAS=cuda (at most 5 minutes; DRY_RUN=1 for a dry run on the CPU)
	$(setup) test $(EXTRAS)
	@'$(VENV)/bin/python' -m benchmarks.backend
	'$(VENV)/bin/python' -m pytest -m gpu tests/gpu $(ARGS)

test-lowest: ## run the tests on Python 3.11 with the lowest versions that pyproject.toml allows
	@CONSTRAINTS=constraints/lowest.txt PYTHON_LINES=3.11 sh scripts/environment.sh .venv-lowest test
	.venv-lowest/bin/python -m pytest $(PARALLEL) -m $(QUICK) $(ARGS)

test-native: ## hold 2,000 random convolutions and their gradients to the definition (some 3 minutes; needs g++)
	$(setup) test $(EXTRAS)
	FLAXCNN_CONVOLUTIONS=2000 '$(VENV)/bin/python' -m pytest $(PARALLEL) tests/kernels $(ARGS)

test-asan: ## run the tests of the native convolutions with AddressSanitizer and UBSan compiled in (needs g++)
	$(setup) test $(EXTRAS)
	sh scripts/test_asan.sh '$(VENV)' $(ARGS)

test-faults: ## kill and damage runs, KILLS random kills of each model, in every odd environment (some 10 minutes)
	$(setup) test $(EXTRAS)
	FLAXCNN_KILLS=$(KILLS) '$(VENV)/bin/python' -m pytest -n 2 --dist worksteal tests/runs/test_faults.py tests/test_environment.py $(ARGS)
	'$(VENV)/bin/python' -m pytest -n 2 --dist worksteal -m faults --ignore tests/runs/test_faults.py --ignore tests/test_environment.py $(ARGS)

test-fuzz: ## read 230,000 mutated files and messages of every kind that may come from elsewhere (some 20 minutes)
	$(setup) test $(EXTRAS)
	FLAXCNN_MUTATIONS=10000 '$(VENV)/bin/python' -m pytest $(PARALLEL) tests/fuzz $(ARGS)

lint: ## check style, formatting, types and the direction of imports
	$(setup) test lint $(EXTRAS)
	'$(VENV)/bin/ruff' check
	'$(VENV)/bin/ruff' format --check
	'$(VENV)/bin/mypy'
	'$(VENV)/bin/lint-imports' --no-logo

docs: ## build the site of docs/ into build/site, strictly; open build/site/index.html, which needs no network
	$(setup) docs $(EXTRAS)
	NO_MKDOCS_2_WARNING=1 '$(VENV)/bin/python' -m mkdocs build --strict $(ARGS)
	@ls build/site/index.html

bench: ## time every workload beside plain Flax, Keras and PyTorch, and rewrite docs/performance.md (an hour)
	$(setup) $(EXTRAS)
	@sh scripts/bench_environment.sh
	'$(VENV)/bin/python' -m benchmarks --json docs/benchmarks.json --picture docs/images/benchmarks.png --document $(ARGS)

bench-gpu: ## time the paper's epoch and residual networks on a GPU beside PyTorch, with EXTRAS=cuda (DRY_RUN=1 for the CPU)
	$(setup) $(EXTRAS)
	'$(VENV)/bin/python' -m benchmarks.gpu $(if $(DRY_RUN),,--json docs/benchmarks_gpu.json --document) $(ARGS)

results: ## train every config over its seeds and rewrite docs/results.md (hours; ARGS=mnist_fast for one)
	$(setup) $(EXTRAS)
	'$(VENV)/bin/python' -m benchmarks.results $(ARGS)

wheel: ## build dist/flaxcnn-*.whl, with the native convolutions where there is a C++ compiler
	$(setup) $(EXTRAS)
	@rm -f dist/flaxcnn-*.whl
	'$(VENV)/bin/python' -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir dist .
	@ls dist/*.whl

clean: ## remove the environments, caches and libraries that make wrote; runs/ stays
	rm -f flaxcnn/kernels/libflaxcnn_kernels.* flaxcnn/kernels/.libflaxcnn_kernels.*
	rm -rf .venv .venv-lowest .venv-mlflow .venv-bench-keras .venv-bench-torch build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
