# `make demo` and `make test` are all that is needed; both prepare .venv on their first run.

VENV := .venv
STAMP := $(VENV)/.installed
DOCS_STAMP := $(VENV)/.installed-docs
ENGINES := .venv-engines
ENGINES_STAMP := $(ENGINES)/.installed
BENCH := .venv-bench
BENCH_STAMP := $(BENCH)/.installed
RUN := $(VENV)/bin/python -m

# Each process of the tests would compile the package and the tests anew without its bytecode.
unexport PYTHONDONTWRITEBYTECODE

# What each room promises, without NUTS, other processes and long searches at random.
QUICK := tests/test_layout.py tests/test_lecture.py $(addsuffix .py, \
	$(addprefix tests/model/test_, spec formula priors) \
	$(addprefix tests/families/test_, densities leaves) \
	$(addprefix tests/data/test_, data design) \
	$(addprefix tests/numerics/test_, chebyshev lattice mixture) \
	$(addprefix tests/exact/test_, conditional conjugate exact gaussian leave_out) \
	$(addprefix tests/exact/test_, count_figures leaf_posterior) \
	tests/contracts/test_kernels_contract \
	tests/mcmc/test_parameterization tests/results/test_checks tests/api/test_fit)

.DEFAULT_GOAL := help
.PHONY: help demo quick test engines lint types docs notebooks bench figures install clean

help: ## Show this list
	@echo 'usage: make TARGET [ARGS="..."] [PYTHON=/path/to/python]'
	@echo
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  %-9s %s\n", $$1, $$2 }' Makefile

demo: $(STAMP) ## Solve an example, exactly and by NUTS
	@$(VENV)/bin/hiermodels demo $(ARGS)

quick: $(STAMP) ## Run the core tests, without NUTS, in about a minute: after each change
	@$(RUN) pytest -n 2 --dist worksteal -q -m 'not slow and not engines' $(ARGS) $(QUICK)

test: $(STAMP) ## Run the tests on all cores; ARGS="-k exact" chooses some of them
	@$(RUN) pytest -n auto --dist worksteal $(ARGS)

engines: $(ENGINES_STAMP) ## Run the tests of Dask, Ibis and Spark; these need Java
	@$(ENGINES)/bin/python -m pytest -m engines $(ARGS)

lint: $(STAMP) ## Check style and formatting
	@$(RUN) ruff check .
	@$(RUN) ruff format --check .

types: $(STAMP) ## Check types
	@$(RUN) mypy

# A page or a notebook compiles its models once and samples them for a second or two.
docs notebooks: export NUMBA_OPT := 0

docs: $(DOCS_STAMP) ## Build the documentation, in docs/_build/html, with warnings as errors
	@$(RUN) sphinx -q -W --keep-going $(ARGS) docs docs/_build/html
	@echo 'The first page is docs/_build/html/index.html.'

notebooks: $(DOCS_STAMP) ## Run the notebooks; ARGS=--overwrite stores what they show
	@$(RUN) pytest --nbmake --nbmake-timeout=600 $(ARGS) notebooks
	@$(VENV)/bin/python notebooks/strip_metadata.py

bench: $(BENCH_STAMP) ## Run the benchmarks; ARGS=--quick for small forms of them
	@set -e; for file in benchmarks/bench_*.py; do \
		[ -e "$$file" ] || { echo 'No benchmarks/bench_*.py here.' >&2; exit 1; }; \
		echo "$$file"; $(BENCH)/bin/python "$$file" $(ARGS); \
	done

figures: $(BENCH_STAMP) ## Measure anew what docs/benchmarks.md shows in tables, and put it there
	@$(BENCH)/bin/python benchmarks/publish.py $(ARGS)

install: $(STAMP) ## Prepare .venv and do nothing else
	@echo '$(VENV) is ready.'

clean: ## Remove .venv, caches and what was built
	@rm -rf $(VENV) $(ENGINES) $(BENCH) build dist docs/_build docs/generated htmlcov .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp is written last and holds this folder's path, because an environment that was moved
# or copied still points to the place where it was made.
ifneq "$(shell [ -x $(VENV)/bin/python ] && cat $(STAMP) 2>/dev/null)" "$(CURDIR)"
.PHONY: $(STAMP)
endif

$(STAMP): pyproject.toml constraints.txt
	@eval "$$PREPARE_VENV"
	$(call install_with_extras,$(VENV),test)

$(DOCS_STAMP): $(STAMP)
	$(call install_with_extras,$(VENV),docs$(comma)notebooks)

# Dask and sparse, which bambi needs, stay out of .venv, because xarray imports them wherever they
# are installed, and Spark is large.
$(ENGINES_STAMP): $(STAMP)
	$(call make_layer,$(ENGINES),Dask$(comma) Ibis and Spark)
	$(call install_with_extras,$(ENGINES),dask$(comma)ibis$(comma)spark)

$(BENCH_STAMP): $(STAMP)
	$(call make_layer,$(BENCH),bambi and statsmodels)
	$(call install_with_extras,$(BENCH),bench)

# An environment that lies on top of .venv, whose packages it sees by way of layer.pth.
site_packages = import sysconfig; print(sysconfig.get_path("purelib"))
define make_layer
@echo 'Making $(1) with $(2), on top of $(VENV) ...'
@$(RUN) venv --clear --without-pip $(1)
@below=$$($(VENV)/bin/python -c '$(site_packages)'); \
here=$$($(1)/bin/python -c '$(site_packages)'); \
printf 'import site; site.addsitedir("%s")\n' "$$below" > "$$here/layer.pth"
endef

comma := ,
define install_with_extras
@rm -f $@
@$(1)/bin/python -m pip install -qq --disable-pip-version-check --no-input \
	--constraint constraints.txt --editable '.[$(2)]' || { \
	echo; \
	echo 'The installation failed, for the reason above. Run make again when it is removed;'; \
	echo '"make clean" before that starts from nothing.'; \
	exit 1; } >&2
@printf '%s\n' "$(CURDIR)" > $@
endef

# Scripts for sh.  A Python is judged by running it: a name on PATH may belong to a version
# manager and fail, and may hide one further on that works.
define PREPARE_VENV
is_new_enough='import sys; sys.exit(0 if sys.version_info >= (3, 12) else 3)'
can_make_venv='import ensurepip, sys, venv; print(sys.executable)'

found= incomplete=
try() {
    [ -x "$$1" ] && "$$1" -I -c "$$is_new_enough" </dev/null >/dev/null 2>&1 || return 1
    found=$$("$$1" -I -c "$$can_make_venv" 2>/dev/null) && return 0
    incomplete=$$1
    return 1
}

try_name() {
    name=$$1
    IFS=:; set -f; set -- $$PATH; set +f; unset IFS
    for folder; do
        try "$${folder:-.}/$$name" && return 0
    done
    return 1
}

find_python() {
    if [ -n "$$PYTHON" ]; then
        try "$$(command -v "$$PYTHON")" && return 0
        echo "PYTHON=$$PYTHON is not a complete Python >= 3.12: looking for another." >&2
    fi
    for name in python3.12 python3.13 python3.14 python3 python; do
        try_name "$$name" && return 0
    done
    for file in "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/3.1[2-9]*/bin/python; do
        try "$$file" && return 0
    done
    try "$$(uv python find '>=3.12' 2>/dev/null)"
}

explain_and_fail() {
    if [ -n "$$incomplete" ]; then
        echo "$$incomplete is new enough, but has no venv or ensurepip, which .venv needs."
        echo "Debian and Ubuntu keep them in a package of their own (python3-venv, or"
        echo "python3.12-venv for that version): install it, or get another Python:"
    else
        echo "hiermodels needs Python 3.12 or newer, and none was found. To get one:"
    fi
    echo "  python.org     an installer"
    echo "  pyenv          pyenv install 3.12"
    echo "  uv             uv python install 3.12"
    echo "  your system    for example: apt install python3.12 python3.12-venv;"
    echo "                 dnf install python3.12; brew install python@3.12"
    echo "One that is not on PATH can be named: make PYTHON=/path/to/python ..."
    exit 1
}

is_usable() {
    [ ! -s $(STAMP) ] || [ "$$(cat $(STAMP))" = "$(CURDIR)" ] || return 1
    $(VENV)/bin/python -I -c "$$is_new_enough" || return 1
    $(RUN) pip --version || $(RUN) ensurepip
}

if is_usable >/dev/null 2>&1; then
    echo "Bringing $(VENV) up to date ..."
else
    find_python || explain_and_fail >&2
    version=$$("$$found" -c 'import platform; print(platform.python_version())')
    echo "Making $(VENV) with Python $$version and installing hiermodels (a minute or two, once) ..."
    "$$found" -I -m venv --clear $(VENV)
fi
endef
export PREPARE_VENV
