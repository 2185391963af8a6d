# make demo   the main job with stand-in weights: outputs/demo.png      make test   everything that CI runs
# make env    only the environment, .venv                               make oracle the environment of insightface, .oracle
PYTHON ?= python3
PIP = -m pip --disable-pip-version-check --quiet

.PHONY: demo test env oracle clean

demo: .venv/ready
	.venv/bin/python -m lib_instantid demo --out outputs

test: .venv/ready .oracle/ready
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/python -m pytest

env: .venv/ready

oracle: .oracle/ready

# stable-diffusion-sdkit declares ancient pins; only its module ldm is used, by the tests.
.venv/ready: pyproject.toml
	$(PYTHON) -m venv .venv
	.venv/bin/python $(PIP) install --upgrade "pip>=25.1"
	.venv/bin/python $(PIP) install --group dev
	.venv/bin/python $(PIP) install --no-deps stable-diffusion-sdkit==2.1.5
	touch $@

.oracle/ready: pyproject.toml
	$(PYTHON) -m venv .oracle
	.oracle/bin/python $(PIP) install --upgrade "pip>=25.1"
	.oracle/bin/python $(PIP) install --group oracle
	touch $@

clean:
	rm -rf .venv .oracle outputs stand-ins
