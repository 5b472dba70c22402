# Everything is set up on the first call and again only when pyproject.toml changes.
#   make run     a demo on http://127.0.0.1:8000/
#   make test    every test

VENV := .venv
BIN := $(VENV)/bin
PORT := 8000
CONNECTIONS := 1000000
MINUTES := 10
RUNS := 5
RUN_READY := $(VENV)/.ready-to-run
DEV_READY := $(VENV)/.ready-to-develop
BENCH_READY := $(VENV)/.ready-to-bench
FUZZ_READY := $(VENV)/.ready-to-fuzz
NODE_READY := .cache/node/.ready
SANITIZERS = LD_PRELOAD="$$($${CC:-cc} -print-file-name=libasan.so) $$($${CC:-cc} -print-file-name=libubsan.so)" \
	ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 PYTHONMALLOC=malloc

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help run test build docs debug sanitize lint types conformance fuzz soak faults bench bench-peers bench-million gate \
	tune-check tune tune-persist tune-revert clean test-packages sdist wheel test-wheels

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(RUN_READY) build ## set up what is missing, then serve the demo chat page (PORT=8000)
	@echo "fastws: open http://127.0.0.1:$(PORT)/ in two browser tabs; Ctrl+C stops"
	@exec $(BIN)/fastws-server --dev --host 127.0.0.1 --port $(PORT)

test: $(DEV_READY) build test-packages ## set up what is missing (Debian packages too, as root), then run every test
	$(BIN)/python .ci/tests.py $(TESTS)

build: $(RUN_READY) ## compile the extension modules that changed
	@$(BIN)/python setup.py -q build_ext --inplace

debug: $(RUN_READY) ## compile with bounds checks and assertions ('make build' goes back)
	@FASTWS_DEBUG=1 $(BIN)/python setup.py -q build_ext --inplace

.PHONY: test-debug
test-debug: $(DEV_READY) debug ## the same, then test and torture the compiled modules, and go back
	@$(TEST_COMPILED)

sanitize: $(DEV_READY) ## compile with address and undefined-behaviour sanitizers, test and torture the compiled modules, go back
	@FASTWS_SANITIZE=1 $(BIN)/python setup.py -q build_ext --inplace
	@$(SANITIZERS) $(TEST_COMPILED)

# FASTWS_TEST_TORTURE_S=180 tortures for longer, FASTWS_TEST_TORTURE_SEED=17 with other numbers.
TEST_COMPILED = $(BIN)/python -m pytest -q -p no:cacheprovider tests/fastws_ext tests/torture $(TESTS); code=$$?; \
	$(BIN)/python setup.py -q build_ext --inplace; exit $$code

sdist: $(RUN_READY) ## the source distribution, in dist/
	@$(BIN)/python .ci/wheels.py sdist dist

wheel: $(RUN_READY) ## a wheel for the Python of .venv, built from the source distribution, in dist/
	@$(BIN)/python .ci/wheels.py wheel dist

test-wheels: $(RUN_READY) ## build and test a wheel on every CPython found that fastws is declared for (TESTS= goes to pytest)
	@$(BIN)/python .ci/wheels.py test $(TESTS)

lint: $(DEV_READY) ## ruff
	$(BIN)/ruff check .

types: $(DEV_READY) build ## mypy --strict, and the stubs of the extension against the compiled modules
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest fastws_ext --allowlist .ci/stubtest-allowlist --ignore-unused-allowlist --ignore-disjoint-bases

docs: $(RUN_READY) build ## write the generated pages of docs/ again, from the code
	@$(BIN)/python -m docs.generate

conformance: $(DEV_READY) build ## all 517 cases of Autobahn's fuzzing client (about ten minutes)
	@.ci/autobahn .cache/autobahn
	FASTWS_TEST_AUTOBAHN=all $(BIN)/python -m pytest -q -m conformance tests/conformance

bench: $(BENCH_READY) build ## the quick benchmark suite, beside the servers that `make bench-peers` has made ready
	$(BIN)/python -m bench all --quick

bench-peers: $(BENCH_READY) build ## install and build the servers to compare with; names those that cannot be had
	@$(BIN)/python -m bench peers

gate: $(RUN_READY) build ## fails when echo or fan-out is a third slower, beside the limit of the machine, than it was
	@$(BIN)/python -m bench gate

fuzz: $(FUZZ_READY) build ## fuzz every target, or TARGET=frames alone, for FUZZ_MINUTES each (10; 0: until Ctrl+C)
	@$(BIN)/python -m tests.fuzz $(TARGET)

# Three tests of the torture take FASTWS_TEST_TORTURE_S each: a tenth of the time in all, unless it is set already.
soak: $(DEV_READY) build ## every load in turn: memory, descriptors and bystanders stay level; then the torture (MINUTES=10)
	$(BIN)/python -m bench soak --minutes $(MINUTES)
	FASTWS_TEST_TORTURE_S=$${FASTWS_TEST_TORTURE_S:-$$(awk 'BEGIN { print 2 * $(MINUTES) }')} \
		$(BIN)/python -m pytest -q -p no:cacheprovider tests/torture

faults: $(DEV_READY) build ## break nodes, Redis and the links between them, several times each, and count (FAULTS="node-kill link" RUNS=5)
	@.ci/debian redis-server=redis-server iptables=iptables
	$(BIN)/python -m tests.faults $(FAULTS) --runs $(RUNS) $(if $(FAULTS),,--document docs/reliability.md)

bench-million: ; @$(call not_built,the benchmark with a million connections)
tune-check tune tune-persist tune-revert: ; @$(call not_built,kernel tuning)

clean: ## remove what was built and cached (the virtual environment stays)
	rm -rf build dist *.egg-info fastws_ext/*.so fastws_ext/*.c .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis bench/bin
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

# A target whose part is not there yet must never look like success.
define not_built
echo "make $@: $(1) is not part of this version of fastws" >&2; exit 2
endef

$(RUN_READY): pyproject.toml .ci/venv
	@.ci/venv $(VENV) ''
	@touch $@

$(DEV_READY): pyproject.toml .ci/venv
	@.ci/venv $(VENV) '[dev]'
	@touch $(RUN_READY) $@

$(BENCH_READY): pyproject.toml .ci/venv
	@.ci/venv $(VENV) '[bench]'
	@touch $(RUN_READY) $@

# Without atheris, which is not to be had for every machine, fuzzing is done in another way, and says so.
$(FUZZ_READY): $(DEV_READY)
	@.ci/venv $(VENV) '[dev,fuzz]' || echo "make fuzz: atheris cannot be installed here" >&2
	@touch $(RUN_READY) $(DEV_READY) $@

test-packages: $(NODE_READY)
	@.ci/autobahn .cache/autobahn

$(NODE_READY): tests/clients/package.json
	@.ci/debian chromium=chromium redis-server=redis-server node=nodejs npm=npm strace=strace
	@.ci/node tests/clients .cache/node
	@touch $@
