# Each target sets up what it needs in a virtual environment (scripts/environment.sh), then runs its commands.
#
#     VENV=FOLDER   the environment, .venv
#     PYTHON=PATH   the Python to make it with; the newest supported one that is found
#     EXTRAS=cuda   more of pyproject.toml's extras to install
#     ARGS="..."    more arguments for the command, as ARGS="--training.steps 100"

VENV = .venv
EXTRAS =
ARGS =

setup = @sh scripts/environment.sh '$(VENV)'

.PHONY: help train sweep test test-faults test-fuzz test-devices test-sweeps test-benchmarks test-lowest lint bench results clean
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
QUICK = 'not benchmarks and not devices and not faults and not sweeps'

test: ## run the tests, but for those of the targets below
	$(setup) test $(EXTRAS)
	'$(VENV)/bin/python' -m pytest $(PARALLEL) -m $(QUICK) $(ARGS)

test-devices: ## run the tests that train on eight devices, in two and in four processes (some 6 minutes)
	$(setup) test $(EXTRAS)
	'$(VENV)/bin/python' -m pytest $(PARALLEL) -m devices $(ARGS)

test-sweeps: ## run the tests of sweeps that train: killed, shared on a PostgreSQL server, on Ray (some 12 minutes)
	$(setup) test $(EXTRAS)
	'$(VENV)/bin/python' -m pytest $(PARALLEL) -m sweeps $(ARGS)

test-benchmarks: ## run the tests of the benchmarks (some 3 minutes)
	$(setup) test $(EXTRAS)
	'$(VENV)/bin/python' -m pytest $(PARALLEL) -m benchmarks $(ARGS)

test-lowest: ## run the tests on Python 3.11 with the lowest versions that pyproject.toml allows
	@CONSTRAINTS=constraints/lowest.txt PYTHON_LINES=3.11 sh scripts/environment.sh .venv-lowest test
	.venv-lowest/bin/python -m pytest $(PARALLEL) -m $(QUICK) $(ARGS)

test-faults: ## kill and damage runs, 30 random kills of each model, in every odd environment (some 10 minutes)
	$(setup) test $(EXTRAS)
	FLAXCNN_KILLS=30 '$(VENV)/bin/python' -m pytest -n 2 --dist worksteal tests/runs/test_faults.py tests/test_environment.py $(ARGS)
	'$(VENV)/bin/python' -m pytest -n 2 --dist worksteal -m faults --ignore tests/runs/test_faults.py --ignore tests/test_environment.py $(ARGS)

test-fuzz: ## read 50,000 mutated files and messages of every kind that may come from elsewhere (some 5 minutes)
	$(setup) test $(EXTRAS)
	FLAXCNN_MUTATIONS=10000 '$(VENV)/bin/python' -m pytest $(PARALLEL) tests/fuzz $(ARGS)

lint: ## check style, formatting, types and the direction of imports
	$(setup) test lint $(EXTRAS)
	'$(VENV)/bin/ruff' check
	'$(VENV)/bin/ruff' format --check
	'$(VENV)/bin/mypy'
	'$(VENV)/bin/lint-imports' --no-logo

bench: ## time every workload beside plain Flax, Keras and PyTorch, and rewrite docs/performance.md (some 25 minutes)
	$(setup) $(EXTRAS)
	@sh scripts/bench_environment.sh
	'$(VENV)/bin/python' -m benchmarks --json docs/benchmarks.json --picture docs/images/benchmarks.png --document $(ARGS)

results: ## train every config over its seeds and rewrite docs/results.md (hours; ARGS=mnist_fast for one)
	$(setup) $(EXTRAS)
	'$(VENV)/bin/python' -m benchmarks.results $(ARGS)

clean: ## remove the environments and caches that make wrote; runs/ stays
	rm -rf .venv .venv-lowest .venv-bench-keras .venv-bench-torch build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
