# One command to run, one to test. `make help` lists them all.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help run status test test-saas check format smoke chaos load audit lock manage secret password api-key clean

PYTHON := .venv/bin/python
# What Python made of a module is kept, whatever the shell says: each process would make it anew, for seconds.
export PYTHONPYCACHEPREFIX := $(CURDIR)/.cache/bytecode
unexport PYTHONDONTWRITEBYTECODE
DATA := $(if $(SA01_DATA_DIR),$(SA01_DATA_DIR),.somaagent)

# Who is who, what leaves and arrives, and each surface over HTTPS: page, API, WebSocket, OpenAI's API, MCP, admin.
SAAS_STORIES := tests/integration/test_modes.py tests/integration/tenancy tests/integration/portable \
	$(addprefix tests/journeys/test_,what_browsers_are_told.py signing_in.py identity_providers.py second_factor.py \
	own_sessions.py page.py turns_over_http.py websocket.py openai_client.py mcp_requests.py admin.py)

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

run: install-embedded  ## Start everything on this machine and chat (Ctrl-C stops it)
	@exec $(PYTHON) -m somaagent.orchestrator run --embedded

status: install-embedded  ## Ask a running SomaAgent how it is
	@SA01_ENV_FILE=$(DATA)/environment $(PYTHON) -m somaagent.orchestrator status

test: install-dev  ## Run every test, against real services (MODE=SAAS: the same in the other mode)
	@SOMA_TEST_MODE=$(MODE) $(PYTHON) -m pytest -n 3 --dist loadfile --no-loadscope-reorder $(ARGS)

test-saas: install-dev  ## Of every surface some tests in SAAS
	@$(MAKE) --no-print-directory test MODE=SAAS ARGS="$(SAAS_STORIES) $(ARGS)"

check: install-dev  ## Format, lint, types, imports, migrations, configuration, infra, guards
	@PATH="$(CURDIR)/.venv/bin:$$PATH" .ci/check

format: install-dev  ## Format the code and mend what the linter can
	@.venv/bin/ruff format .
	@.venv/bin/ruff check --fix .

smoke: install-dev  ## Health, a turn, a resumed stream, metrics; on a running stack or its own
	@$(PYTHON) -m tests.smoke $(ARGS)

chaos: install-dev  ## Running turns while gateway, worker, Valkey and PostgreSQL are killed and restarted
	@$(PYTHON) -m tests.chaos $(ARGS)

load: install-dev  ## Turns, first tokens, reads, open streams: how fast, beside the model server alone (LOAD_SECONDS=10)
	@$(PYTHON) -m tests.load $(if $(LOAD_SECONDS),--seconds $(LOAD_SECONDS)) $(ARGS)

audit: install-dev  ## Look for known vulnerabilities in what is pinned
	@for pins in base embedded dev; do .venv/bin/pip-audit --strict --disable-pip --require-hashes --progress-spinner off -r requirements/$$pins.txt || exit 1; done

lock: install-dev  ## Pin requirements/*.in anew, with hashes (UPGRADE=1 takes newer versions)
	@requirements/lock $(if $(UPGRADE),--upgrade)

manage: install-embedded  ## Any manage.py command on the running stack: make manage ARGS="showmigrations"
	@SA01_ENV_FILE=$(DATA)/environment $(PYTHON) manage.py $(ARGS)

secret: install-embedded  ## Put a secret into Vault: make secret NAME=models/openai
	@SA01_ENV_FILE=$(DATA)/environment $(PYTHON) manage.py secret set "$(NAME)"

password: install-embedded  ## A new one-time password for the operator
	@SA01_ENV_FILE=$(DATA)/environment $(PYTHON) manage.py operator_password $(ARGS)

api-key: install-embedded  ## A new API key
	@SA01_ENV_FILE=$(DATA)/environment $(PYTHON) manage.py create_api_key $(ARGS)

clean:  ## Remove the virtual environment and caches (never the data)
	@rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .schemathesis

install-%:
	@python3 requirements/install.py $*
