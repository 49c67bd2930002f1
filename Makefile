# Everything a developer does. `make` alone lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help run services services-stop test generated-calls faults bench lint chart format lock clean monitoring messages screens

# helm is built from its module where it is not installed but Go is: minutes, once.
HELM_VERSION := v4.3.1
HELM ?= $(shell command -v helm || echo $(VENV)/chart/bin/helm)

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 16

run: $(VENV)/.embedded  ## the whole system on SQLite, an embedded Redis and an embedded Kafka; Ctrl-C ends it
	@exec $(BIN)/python -m dev.embedded

services: $(VENV)/.production  ## start MariaDB (SERVICES_DATABASE=mysql: MySQL), Redis, Kafka on loopback, in .services/
	@$(BIN)/python -m dev.services start

services-stop: $(VENV)/.made  ## stop them
	@$(BIN)/python -m dev.services stop

test: $(VENV)/.dev  ## the suite on the embedded stack and, wherever they can be had, on the real services
	@$(BIN)/python -m tests.run

generated-calls: $(VENV)/.dev  ## 10,000 calls that schemathesis makes from the OpenAPI document; 3 minutes
	@COUPON_GENERATED_CALLS=10000 $(BIN)/python -m pytest tests/contract/test_generated_calls.py

faults: $(VENV)/.dev  ## a rush of claims and a fault in its middle, case by case; half an hour (FAULTS=--short: 8; --clusters)
	@$(BIN)/python -m dev.faults $(FAULTS)

bench: $(VENV)/.dev  ## every figure beside a baseline of the same run; BENCH=--short: under 3 minutes
	@$(BIN)/python -m dev.bench $(BENCH)

lint: $(VENV)/.dev  ## ruff, mypy, import-linter, missing migrations, migrations that break the release before, alerts without a runbook, texts without Korean
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	SECRET_KEY=lint COUPON_LOG_DIR=$(VENV)/logs $(BIN)/mypy
	$(BIN)/lint-imports --no-cache --verbose > $(VENV)/lint-imports.log || (cat $(VENV)/lint-imports.log; exit 1)
	SECRET_KEY=lint COUPON_LOG_DIR=$(VENV)/logs $(BIN)/python manage.py makemigrations --check --dry-run
	SECRET_KEY=lint COUPON_LOG_DIR=$(VENV)/logs $(BIN)/python -m dev.migration_lint
	SECRET_KEY=lint COUPON_LOG_DIR=$(VENV)/logs $(BIN)/python -m dev.monitoring lint
	$(BIN)/python -m dev.catalogs check

chart: $(VENV)/.chart $(HELM)  ## the Helm chart and the Dockerfile: helm lint, kubernetes-validate, checkov, hadolint
	@HELM="$(abspath $(HELM))" TOOLS="$(abspath $(VENV)/chart/bin)" deploy/helm/check

monitoring: $(VENV)/.dev  ## promtool on deploy/monitoring: the configuration, the rules, a test for each alert
	@$(BIN)/python -m dev.monitoring test

format: $(VENV)/.dev  ## write the code as ruff wants it
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

messages: $(VENV)/.dev  ## compile the Korean of the admin and the commands, coupons/locale; says which texts have none
	$(BIN)/python -m dev.catalogs

screens: $(VENV)/.dev  ## docs/screens anew: each page of the admin at both widths in both languages; needs Chromium
	@command -v chromium >/dev/null || { echo "Chromium is needed: apt-get install chromium fonts-nanum"; exit 1; }
	rm -f docs/screens/*.png
	COUPON_SCREENS=docs/screens $(BIN)/python -m pytest tests/browser -q

lock: $(VENV)/.dev  ## pin requirements/*.txt anew from requirements/*.in
	$(BIN)/pip-compile --quiet --upgrade --strip-extras --no-emit-index-url --no-emit-find-links \
	    --no-emit-trusted-host --no-header --no-annotate -o requirements/base.txt requirements/base.in
	$(BIN)/pip-compile --quiet --upgrade --strip-extras --no-emit-index-url --no-emit-find-links \
	    --no-emit-trusted-host --no-header --no-annotate -o requirements/tracing.txt requirements/tracing.in
	$(BIN)/pip-compile --quiet --upgrade --strip-extras --no-emit-index-url --no-emit-find-links \
	    --no-emit-trusted-host --no-header --no-annotate -o requirements/dev.txt requirements/dev.in

clean: services-stop  ## remove what was installed and stored: .venv, .embedded, .services, logs
	rm -rf $(VENV) .bench .embedded .services .test-stacks logs staticfiles

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "$$($(PYTHON) --version) is too old: Python 3.11 or newer is needed (make PYTHON=python3.11 ...)"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	    { echo "no virtual environment could be made: on Debian or Ubuntu, apt-get install python3-venv"; exit 1; }
	@touch $@

$(VENV)/.embedded: requirements/base.txt requirements/embedded.txt | $(VENV)/.made
	@echo "installing what the embedded stack needs into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements/embedded.txt
	@touch $@

$(VENV)/.production: requirements.txt requirements/base.txt | $(VENV)/.made
	@deploy/mysql-headers
	@echo "installing what production needs into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/.chart: requirements/chart.txt | $(VENV)/.made
	@echo "installing the chart's validators into $(VENV)/chart ..."
	@$(PYTHON) -m venv $(VENV)/chart
	@$(VENV)/chart/bin/python -m pip install --quiet --disable-pip-version-check -r requirements/chart.txt
	@touch $@

$(VENV)/chart/bin/helm: | $(VENV)/.chart
	@command -v go >/dev/null || \
	    { echo "helm is not here, nor is Go to build it: https://helm.sh/docs/intro/install/"; exit 1; }
	@echo "building helm $(HELM_VERSION) ..."
	@GOBIN="$(abspath $(VENV))/chart/bin" go install helm.sh/helm/v4/cmd/helm@$(HELM_VERSION)

$(VENV)/.dev: requirements/dev.txt requirements/tracing.txt $(VENV)/.embedded | $(VENV)/.made
	@deploy/mysql-headers && $(MAKE) --no-print-directory $(VENV)/.production || test "$$CI" != true
	@echo "installing tests and linters into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements/dev.txt -r requirements/tracing.txt
	@touch $@
