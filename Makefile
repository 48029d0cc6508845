# Everything a newcomer needs: `make run` and `make test`. Each target says what it is for: `make help`.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
FLEET ?= compose/demo/fleet.toml
TWO := -n 2 --dist loadfile # most of them wait; a file's tests share what it starts
PURE := actions/*,workers/model.py,workers/machine.py,workers/duration.py,workers/*/states.py,workers/*/config.py,$\
	supervisor/plan.py,supervisor/rules.py,supervisor/admission.py,supervisor/conditions.py,supervisor/failures.py,$\
	supervisor/bell.py,supervisor/breaker.py,supervisor/circuit.py,supervisor/health.py,supervisor/redpanda.py,supervisor/backoff.py,supervisor/templates.py,supervisor/keys.py,supervisor/model.py,$\
	supervisor/metrics.py,supervisor/gauges.py,supervisor/runbooks.py,supervisor/rendezvous.py,supervisor/spread.py,supervisor/readings.py,$\
	supervisor/decide.py,supervisor/scope.py,supervisor/nextup.py,supervisor/why.py,supervisor/diff.py,supervisor/frames.py,supervisor/recorder.py,$\
	supervisor/logschema.py,supervisor/history.py,supervisor/timeline.py,supervisor/orders.py,supervisor/envelope.py,supervisor/wishes.py

# In `NODES`, + marks nodes in the pool of floating workers.
COMPOSE ?= $(shell docker compose version >/dev/null 2>&1 && echo docker compose || echo docker-compose)
STACK := $(COMPOSE) -f compose/compose.yaml
NODES := edge-1 edge-2+ edge-3+

.PHONY: help run compose-up compose-secrets compose-down compose-fsmctl test test-all test-faults soak bench mutation lint format diagrams commands \
	dashboard check-lock lock clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 18

# What the environment needs, said in a sentence when it is missing.
define CHECK_PYTHON
$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
  echo "error: $(PYTHON) is missing or older than 3.11; install Debian's python3 (bookworm or newer), or say make PYTHON=/path/to/python3.11" >&2; exit 1; }; \
$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
  echo "error: Python's venv module is missing; install it with: apt-get install python3-venv" >&2; exit 1; }
endef

$(VENV)/.run: requirements.lock pyproject.toml
	@$(CHECK_PYTHON)
	@echo "setting up $(VENV) from requirements.lock"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: requirements-dev.lock $(VENV)/.run
	@echo "adding the development tools from requirements-dev.lock"
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements-dev.lock
	@touch $@

# The peers of the benchmarks have an environment of their own: theirs are newer versions of what we pin.
$(VENV)-peers/.done: tests/benchmarks/peers.txt
	@$(PYTHON) -m venv $(VENV)-peers
	@$(VENV)-peers/bin/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $<
	@touch $@

run: $(VENV)/.run ## Run the demo fleet here, in the foreground; Ctrl-C stops everything
	@exec $(BIN)/fsmctl up --fleet $(FLEET)

compose-up: compose-secrets ## Build the images and bring a whole installation up, in containers, with the demo fleet
	@$(STACK) --profile demo up -d

compose-secrets: ## Build the images; make certificates, passwords and keys that are missing, or end within 30 days
	@$(STACK) build supervisor-1 edge-1
	@mkdir -p compose/secrets
	@docker run --rm --user 0:0 -e FSM_LOG_FORMAT=console -v "$(CURDIR)/compose/secrets:/secrets" \
	  -v "$(CURDIR)/compose/make-secrets:/make-secrets:ro" fsm-supervisor:$${FSM_VERSION:-dev} /make-secrets /secrets 10001 $(NODES)

compose-fsmctl: ## fsmctl in the compose stack: make compose-fsmctl ARGS="get workers"
	@$(STACK) --profile tools run --rm fsmctl $(ARGS)

compose-down: ## End the compose stack; its data and secrets stay
	@$(STACK) --profile demo --profile monitoring --profile field --profile tools down

test: $(VENV)/.dev ## Unit, integration and short live tests, on a real Redis and real Celery
	$(BIN)/pytest -m "not slow" $(TWO)

test-all: $(VENV)/.dev ## All tests, fault tests at short counts, coverage, and that nothing has become slow
	$(BIN)/coverage erase
	$(BIN)/pytest tests/unit tests/golden tests/integration $(TWO) --cov --cov-report=
	$(BIN)/pytest tests/live -m "not fault" $(TWO) --cov --cov-append --cov-report=
	$(BIN)/coverage report --fail-under=90
	$(BIN)/coverage report --include=$(PURE) --fail-under=100
	$(BIN)/pytest tests/faults -n 2
	$(BIN)/python -m tests.benchmarks --quick
	$(BIN)/pytest tests/stack

test-faults: $(VENV)/.dev ## Fault tests at full counts, hours long; figures in .faults/figures.jsonl
	FAULTS=full $(BIN)/pytest tests/faults -m fault --timeout 0

soak: $(VENV)/.dev ## Random faults for MINUTES (20), by a seed (FAULTS_SEED)
	SOAK_MINUTES=$(or $(MINUTES),20) $(BIN)/pytest tests/faults/test_soak.py --timeout 0

bench: $(VENV)/.dev $(VENV)-peers/.done ## All benchmarks with their bars, beside peers; WRITE=1 writes docs/performance.md
	$(BIN)/python -m tests.benchmarks --python $(VENV)-peers/bin/python $(if $(WRITE),--write)

mutation: $(VENV)/.dev ## See that a fault test fails without the fence, and without the gate after an action's end
	$(BIN)/python -m tests.faults.mutate

lint: $(VENV)/.dev ## ruff, mypy strict, import-linter, generated docs and dashboard
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python compose/grafana/dashboards/build.py --check
	$(BIN)/python -m tests.diagrams --check
	$(BIN)/python -m tests.observability --check
	$(BIN)/python -m tests.security --check
	$(BIN)/python -m tests.commands --check

format: $(VENV)/.dev ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

diagrams: $(VENV)/.dev ## Write docs/state-machines.md and the tables of docs/observability.md and security.md
	$(BIN)/python -m tests.diagrams
	$(BIN)/python -m tests.observability
	$(BIN)/python -m tests.security

commands: $(VENV)/.dev ## Write the commands' part of docs/cli.md from the code
	$(BIN)/python -m tests.commands

dashboard: $(VENV)/.dev ## Write compose/grafana/dashboards/supervisor.json from build.py beside it
	$(BIN)/python compose/grafana/dashboards/build.py

check-lock: ## See that requirements.lock alone is enough to run every part, and requirements-edge.lock for a node's looks
	rm -rf $(VENV)-lock && $(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	$(VENV)-lock/bin/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation .
	$(VENV)-lock/bin/pip check
	cd / && FSM_REDIS_URL=redis://127.0.0.1:1/0 $(CURDIR)/$(VENV)-lock/bin/python -c \
	  "import celery.apps.beat, celery.apps.worker, flower.command, kombu.transport.redis, supervisor.tasks, supervisor.cli.up"
	$(VENV)-lock/bin/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements-edge.lock
	$(VENV)-lock/bin/pip check
	$(VENV)-lock/bin/python -c "import asyncua, kafka, paho.mqtt.client"
	rm -rf $(VENV)-lock build *.egg-info

lock: ## Resolve the lock files anew (needs uv)
	echo "setuptools>=77" | uv pip compile --universal --generate-hashes --no-header --no-annotate --no-emit-index-url --python-version 3.11 --upgrade pyproject.toml - -o requirements.lock
	echo "setuptools>=77" | uv pip compile --universal --generate-hashes --no-header --no-annotate --no-emit-index-url --python-version 3.11 --extra kafka --extra mqtt --extra opcua -c requirements.lock pyproject.toml - -o requirements-edge.lock
	echo "setuptools>=77" | uv pip compile --universal --generate-hashes --no-header --no-annotate --no-emit-index-url --python-version 3.11 --group dev --all-extras -c requirements-edge.lock pyproject.toml - -o requirements-dev.lock

clean: ## Remove the environment and caches; the data folder .fsm stays
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build *.egg-info .coverage*
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +
