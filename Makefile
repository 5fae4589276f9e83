# The whole project from one place. `make help` lists what there is.
# ENV=local (default) is the stack on this machine, any other is AWS (terraform/environments/).
# OFFLINE=1 plans an environment without AWS, as if nothing of it were there.
# STACK=name is a separate local stack. BACKEND=localstack uses LocalStack instead of MiniStack.
# OPENSEARCH=1 has the local stack search OpenSearch Serverless, of which it has a stand-in.

ENV     ?= local
STACK   ?= default
BACKEND ?= ministack
export STACK BACKEND

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help

PY      := .venv/bin/python
CLI     := $(PY) -m localstack.stack
TF      := terraform -chdir=terraform
TFVARS  := -var-file=environments/$(ENV)/terraform.tfvars
UNIT    := $(PY) -m pytest tests/unit
READY   := .venv/.ready
CHECKOV := .venv-checkov/bin/checkov

# --- The checkout's own environment --------------------------------------------------------------

$(READY): pyproject.toml uv.lock localstack/bootstrap.sh
	@bash localstack/bootstrap.sh >&2
	@touch $@

$(CHECKOV): terraform/checkov-requirements.txt | $(READY)
	@echo "installing Checkov" >&2
	@.venv/bin/uv venv --quiet --clear --python $(PY) .venv-checkov
	@.venv/bin/uv pip install --quiet --require-hashes --compile-bytecode \
		--python .venv-checkov/bin/python -r $<
	@touch $@

# --- The stack -----------------------------------------------------------------------------------

.PHONY: help up down clean outputs chat logs test lint unit integration e2e plan drift migrate \
	apply rollback reindex sweep migration documents bench faults load audit sbom

help: ## list the targets
	@grep -hE '^[a-z0-9]+:.*##' $(MAKEFILE_LIST) | sort -u -t: -k1,1 | sed -E 's/:.*## /\t/' | expand -t 14
	@echo
	@echo "Variables: ENV=$(ENV) STACK=$(STACK) BACKEND=$(BACKEND)"

ifeq ($(ENV),local)

up: $(READY) ## start the stack, apply, migrate, seed, and show a streamed answer
	@$(CLI) up

down: $(READY) ## stop the stack, keep its data
	@$(CLI) down

plan: $(READY) ## show what an apply would change
ifdef OFFLINE
	@$(PY) -m localstack.offline $(ENV)
else
	@$(CLI) plan
endif

drift: $(READY) ## plan again; fails unless there is nothing to change
	@$(CLI) drift

migrate: $(READY) ## run the database's pending migrations
	@$(CLI) migrate

rollback: $(READY) ## take back the last migration
	@$(CLI) rollback

reindex: $(READY) ## rebuild the search index from the stored embeddings, without the model
	@$(CLI) reindex

sweep: $(READY) ## let a run delete up to PERCENT of a source's documents: SOURCE=<id> PERCENT=100
	@$(CLI) sweep $(SOURCE) $(PERCENT)

outputs: $(READY) ## print URLs, names and the seeded login as one JSON object
	@$(CLI) outputs

chat: $(READY) ## chat in the terminal
	@$(CLI) chat

logs: $(READY) ## follow the functions' logs
	@$(CLI) logs

else

terraform/.terraform/$(ENV): terraform/terraform.tf terraform/environments/$(ENV)/backend.hcl
	$(TF) init -reconfigure -backend-config=environments/$(ENV)/backend.hcl
	@touch $@

AWS_BUILT := $(READY) terraform/.terraform/$(ENV)

# Without migrations: all of `up` for a release that is applied again, whose database has later ones.
apply: $(AWS_BUILT)
	$(PY) -m layers.build --arch arm64
	$(TF) apply $(TFVARS)

up: apply
	$(PY) -m localstack.migration chatbot-$(ENV)-migrate up

ifdef OFFLINE
plan: $(READY)
	@$(PY) -m localstack.offline $(ENV)
else
plan: $(AWS_BUILT)
	$(PY) -m layers.build --arch arm64
	$(TF) plan $(TFVARS)
endif

drift: $(AWS_BUILT)
	$(PY) -m layers.build --arch arm64
	$(TF) plan -detailed-exitcode $(TFVARS)

migrate: $(READY)
	$(PY) -m localstack.migration chatbot-$(ENV)-migrate up

rollback: $(READY)
	$(PY) -m localstack.migration chatbot-$(ENV)-migrate down

reindex: $(READY)
	$(PY) -m localstack.reindex chatbot-$(ENV)-embed

sweep: $(READY)
	$(PY) -m localstack.sweep $(SOURCE) $(PERCENT)

outputs: $(AWS_BUILT)
	@$(TF) output -json

down chat logs:
	@echo "make $@: only the local stack has it, and ENV=$(ENV) is on AWS" >&2; exit 1

endif

clean: ## stop the stack and remove its data; with the last stack all that make has made
	@if [ -x $(PY) ]; then $(CLI) clean; fi
	@if [ ! -d .local ]; then \
		rm -rf .build .venv .venv-checkov .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage .coverage.* \
			terraform/.terraform; \
		find . -name __pycache__ -type d -prune -exec rm -rf {} +; \
	fi

migration: $(READY) ## make the files of a new migration: make migration NAME=add_labels
	@$(PY) -m localstack.migration --new "$(NAME)"

documents: $(READY) ## renew functions/platform/static/{openapi,asyncapi}.json from the handlers
	PYTHONPATH=layers/shared/python $(PY) -m layers.openapi functions/platform/static

# --- Checks --------------------------------------------------------------------------------------

test: $(READY) ## everything: lint, unit, integration, Terraform and end-to-end tests, coverage
	@bash tests/e2e/install_chromium.sh
	@$(PY) -m tests.run

lint: $(READY) $(CHECKOV) ## formatter, linter, types, secrets, Terraform, policy and state-machine checks
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy functions layers localstack tests
	$(PY) -m tests.secrets_scan
	$(CLI) terraform fmt -check -recursive
	@$(CLI) terraform init -backend=false -lockfile=readonly >/dev/null
	$(CLI) terraform validate
	$(CHECKOV) --config-file terraform/.checkov.yaml
	$(UNIT)/test_statemachines.py -q

LAMBDA_PACKAGES := .build/lambda-packages.txt

$(LAMBDA_PACKAGES): uv.lock | $(READY)
	@mkdir -p $(@D)
	@.venv/bin/uv export --quiet --frozen --only-group lambda --no-emit-project --output-file $@ >/dev/null

audit: $(LAMBDA_PACKAGES) ## known vulnerabilities of what the functions import (asks PyPI); workflows
	.venv/bin/uvx --quiet zizmor@1.32.0 --quiet --offline .github
	.venv/bin/uvx --quiet pip-audit@2.10.1 --strict --require-hashes --disable-pip -r $<

sbom: $(LAMBDA_PACKAGES) ## what the functions import, as CycloneDX, in .build/sbom.json
	.venv/bin/uvx --quiet --from cyclonedx-bom==7.5.0 cyclonedx-py requirements $< \
		--output-reproducible --output-format JSON --output-file .build/sbom.json

unit: $(READY) ## unit and contract tests
	$(UNIT)

integration: $(READY) ## tests of PostgreSQL, of the stand-ins and of their parity with AWS
	@$(CLI) install
	$(PY) -m pytest -n 3 --dist loadfile tests/integration

e2e: $(READY) ## end-to-end tests, on a stack of their own that stays up (STACK=test)
	@bash tests/e2e/install_chromium.sh
	@STACK=test $(CLI) up
	STACK=test $(PY) -m pytest tests/e2e

FAULTS ?= .

faults: $(READY) ## AWS fails in every way and nothing is lost, on the stack test (FAULTS=regexp)
	@STACK=test $(CLI) up
	FAULTS='$(FAULTS)' STACK=test $(PY) -m pytest tests/e2e/exclusive/faults

load: $(READY) ## 500 sockets, 200 turns at once, 50 REST requests a second, on the stack test
	@STACK=test $(CLI) up
	@STACK=test $(PY) -m tests.benchmarks.load $(LOAD)

bench: $(READY) ## measure: first frame, cold starts, ingestion, search, costs; a part: BENCH="cost retrieval"
	@PYTHONPATH=layers/shared/python $(PY) -m tests.benchmarks $(BENCH)
