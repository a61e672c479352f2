# `make demo` and `make test` do everything from a fresh clone: they need python3, make and a C
# compiler. Whatever they make is in .venv/, build/ and pound/*.so; `make clean` removes it.

PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
# With it set, each process of the tests would compile all of Pound, and each run all tests.
export PYTHONDONTWRITEBYTECODE :=
SOURCES := $(shell find pound -name "*.p[yx][xd]" -o -name "*.h") cython_options.py setup.py
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
BUILD_EXT := $(BIN)/python setup.py --quiet build_ext --inplace
# gevent is not made for a free-threaded Python; what is missing is skipped.
LOOPS = $(shell $(BIN)/python -c 'import sys; print("" if "t" in sys.abiflags else ",loops")')
# The interpreters that get wheels.
PYTHONS ?= $(PYTHON)
# Budgets of the long runs.
SIM_SEEDS ?= 20000
SIM_SEED ?= 0
FUZZ_EXAMPLES ?= 200000
QUICK_EXAMPLES ?= 50
CHAOS_MINUTES ?= 10
CHAOS_SEED ?= 0
# What `make cov` runs.
COV_TESTS ?= tests/unit tests/integration

.DEFAULT_GOAL := help
.PHONY: help build demo test cov quick bench bench-quick bench-python bench-micro profile debug annotate \
	sanitize soak chaos lint types docs wheel wheels-all dist-check sim-long fuzz-long clean

help:            ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 14

# --- the environment: each stamp is made once and again when what it depends on changes

.venv/made:
	$(PYTHON) -m venv .venv || { echo "python3 needs its venv module (Debian: python3-venv)"; exit 1; }
	touch $@

.venv/tools: .venv/made pyproject.toml pound/_version.py
	$(PIP) install "setuptools>=77" "cython>=3.1"
	POUND_UNBUILT=1 $(PIP) install --no-build-isolation --editable ".[test,lint,docs$(LOOPS)]"
	touch $@

.venv/bench: .venv/tools
	POUND_UNBUILT=1 $(PIP) install --no-build-isolation --editable ".[bench]"
	touch $@

.venv/bench-python: .venv/tools
	POUND_UNBUILT=1 $(PIP) install --no-build-isolation --editable ".[bench-python]"
	touch $@

.venv/cov: .venv/tools
	POUND_UNBUILT=1 $(PIP) install --no-build-isolation --editable ".[cov]"
	touch $@

.venv/wheel: .venv/tools
	POUND_UNBUILT=1 $(PIP) install --no-build-isolation --editable ".[wheel]"
	touch $@

build/built: .venv/tools $(SOURCES)
	$(BUILD_EXT)
	@mkdir -p build && touch $@

build: build/built   ## the extensions, in place

# What unit tests look through; a test that has to build it has a minute for that.
build/probes: build/built $(wildcard tests/probe/*.p*)
	$(BIN)/python tests/probe/setup.py
	@touch $@

# --- what a visitor wants

demo: build      ## the main job on real files: kill a worker, lose nothing
	$(BIN)/pound demo

test: build build/probes ## all tests, short forms of the long ones: ten minutes
	$(BIN)/python -m pytest

quick: build build/probes ## unit tests but the slow ones, the linters and the site, side by side: a minute
	POUND_FUZZ_EXAMPLES=$(QUICK_EXAMPLES) $(BIN)/python -m pytest -n 4 -m "not slow" tests/unit \
		--ignore tests/unit/test_lint.py --ignore tests/unit/test_site.py

bench: build .venv/bench ## speed against bench/targets.toml, with plots: a quarter of an hour
	$(BIN)/python -m bench --all --json build/bench/results.json --plots build/bench

bench-quick: build ## the same in two minutes, for orientation
	$(BIN)/python -m bench --all --quick

bench-python: build .venv/bench-python ## the Python client and worker against others: five minutes
	$(BIN)/python -m bench.python --json build/bench/python.json

bench-micro: build .venv/bench ## operations/s of the leaves, the dispatcher and the codec
	$(BIN)/python -m pytest --benchmark-only --benchmark-json build/bench/micro.json \
		--benchmark-columns min,median,rounds --benchmark-sort name bench/micro

profile: build .venv/bench ## flame graphs of the broker and of a Python worker under load
	$(BIN)/python -m bench.runner.profile --out build/profile

# --- what a developer wants

cov: build .venv/cov ## what the tests run of the Python sources: a report, and build/cov/html
	rm -rf build/cov && mkdir -p build/cov
	$(BIN)/coverage run -m pytest $(COV_TESTS); status=$$?; \
		$(BIN)/coverage combine --quiet; $(BIN)/coverage html --quiet; $(BIN)/coverage report; exit $$status

debug:           ## all tests with the O(n) invariant checks compiled in
	rm -f build/built
	POUND_DEBUG=1 $(MAKE) build build/probes
	$(BIN)/python -m pytest; status=$$?; rm -f build/built; exit $$status

# A finding ends its process; libasan also writes it to a file, since that process may be one whose
# end a test expects (libubsan can't beside it, hence --capture=sys: its words stay on stderr).
# libstdc++ is preloaded because libasan looks for its __cxa_throw at the start. Left out: one test
# that needs LD_PRELOAD for itself, and one with 20,000 waiting requests, at each of which a debug
# build looks after every step.
SANITIZED := $(CURDIR)/build/sanitized
sanitize:        ## unit tests, simulation, interoperation under the address and UB sanitizers
	rm -rf build/built $(SANITIZED) && mkdir -p $(SANITIZED)
	POUND_DEBUG=1 POUND_SANITIZE=1 $(MAKE) build build/probes
	POUND_SANITIZE=1 ASAN_OPTIONS=detect_leaks=0:log_path=$(SANITIZED)/finding \
	UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1 \
	LD_PRELOAD="$$(cc -print-file-name=libasan.so) $$(cc -print-file-name=libstdc++.so.6)" \
		$(BIN)/python -m pytest -p no:faulthandler --capture=sys \
		tests/unit tests/bench tests/simulation tests/fuzz tests/interop \
		--deselect tests/unit/test_lint.py \
		--deselect tests/bench/test_bench.py::test_copies_of_bodies_are_seen \
		--deselect tests/bench/test_bench.py::test_requests_that_wait_are_weighed; \
	status=$$?; rm -f build/built; cat $(SANITIZED)/* 2>/dev/null && exit 1; exit $$status

soak: build      ## ten million requests over all dialects; afterwards nothing may be left
	$(BIN)/python -m tests.soak

chaos: build     ## kills, stops and pauses under load for CHAOS_MINUTES, from CHAOS_SEED on
	$(BIN)/python -m tests.chaos --minutes $(CHAOS_MINUTES) --seed $(CHAOS_SEED)

annotate:        ## Cython's annotated HTML beside each module
	rm -f build/built
	POUND_ANNOTATE=1 $(MAKE) build
	rm -f build/built

lint: build      ## ruff, cython-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/cython-lint pound tests bench

types: build build/probes ## mypy strict, and the stubs against the built modules
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest --allowlist tests/unit/stubtest-allow.txt --ignore-unused-allowlist \
		$(subst /,.,$(basename $(shell find pound tests/probe -name "*.pyi")))

docs: build      ## the documentation site, build/docs/html; a warning fails
	$(BIN)/python -m docs.site build/docs

sim-long: build  ## the simulation with many seeds (SIM_SEEDS), from SIM_SEED on
	$(BIN)/python -m tests.simulation --seed $(SIM_SEED) --seeds $(SIM_SEEDS)
	$(BIN)/python -m tests.simulation.links --seed $(SIM_SEED) --seeds $(SIM_SEEDS)

fuzz-long: build ## the fuzz tests with many examples (FUZZ_EXAMPLES)
	POUND_FUZZ_EXAMPLES=$(FUZZ_EXAMPLES) $(BIN)/python -m pytest --timeout 0 tests/fuzz

wheel: .venv/wheel   ## sdist and wheels (of each of PYTHONS) in dist/, as they are published
	$(BIN)/python -m tests.wheels build $(PYTHONS)

wheels-all: .venv/wheel ## wheels for every interpreter by cibuildwheel (on Linux it needs Docker)
	$(PIP) install "cibuildwheel>=3.2"
	$(BIN)/cibuildwheel --output-dir dist

dist-check: wheel    ## each wheel in empty environments, with the oldest and newest pyzmq for it
	$(BIN)/python -m tests.wheels check $(PYTHONS)

clean:           ## everything that was built
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find pound -name "*.so" -o -name "*.c" -o -name "*.html" | xargs rm -f
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
