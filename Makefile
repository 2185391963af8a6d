# make demo   pictures of two people by the small model: outputs/demo.png      make test   everything that CI runs
# make page   a page to use InstantID without a WebUI, with the small model: http://127.0.0.1:7861
# make env    only the environment, .venv            make oracle   the environment of insightface, .oracle
# make .training/ready   the environment of training/, which nothing else needs
PYTHON ?= python3
PIP = -m pip --disable-pip-version-check --quiet

# The page under Forge's gradio and, where Python is old enough for it, under AUTOMATIC1111's.
PAGES = .page-4.40/ready $(shell $(PYTHON) -c "import sys; print('' if sys.version_info >= (3, 13) else '.page-3.41/ready')")

.PHONY: demo page test env oracle clean

demo: .venv/ready
	.venv/bin/python -m lib_instantid demo --out outputs

page: .page-4.40/ready
	.page-4.40/bin/python -m lib_instantid page

test: .venv/ready .oracle/ready $(PAGES)
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest -n 3 --dist loadscope --no-loadscope-reorder

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

# What anny declares beside these is for fitting and viewing; only its shapes are used.
.training/ready: pyproject.toml
	$(PYTHON) -m venv .training
	.training/bin/python $(PIP) install --upgrade "pip>=25.1"
	.training/bin/python $(PIP) install --group training
	.training/bin/python $(PIP) install --no-deps anny==0.6.2 roma trimesh warp-lang
	touch $@

.page-4.40/ready: GROUP = page
.page-3.41/ready: GROUP = page-old
.page-%/ready: pyproject.toml
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python $(PIP) install --upgrade "pip>=25.1"
	$(@D)/bin/python $(PIP) install --group $(GROUP)
	touch $@

clean:
	rm -rf .venv .oracle .training .page-* outputs
