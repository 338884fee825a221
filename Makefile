# SPDX-License-Identifier: MIT
#
# A front for meson, so that the usual words work. Everything is built in $(BUILD).

BUILD ?= build
PREFIX ?= /usr/local
DESTDIR ?=
BENCH ?=
SUITE ?=
PYTHON ?= /usr/bin/python3
export BUILD PYTHON

.PHONY: all setup criu check check-asan check-clang test test-vm test-fresh bench demo demo-wordpress demo-stop install uninstall clean help root

all: $(BUILD)/build.ninja
	ninja -C $(BUILD)

$(BUILD)/build.ninja:
	@command -v meson >/dev/null || { echo "make: meson is missing; 'sudo scripts/setup-debian' installs what the build needs" >&2; exit 1; }
	meson setup $(BUILD) --prefix=$(PREFIX)

help:
	@sed -n 's/^#: //p' Makefile

#: make               build in $(BUILD)
#: make check         unit tests and the checks of the house rules (no root; some tests want it)
#: make test          as root: install what is missing, build, run every test
#: make check-asan    unit tests under the address and undefined-behaviour sanitizers
#: make check-clang   build with clang, a warning is an error; unit tests
#: make test-vm       as root: every end-to-end test on Debian's own kernels in virtual machines (slow)
#: make test-fresh    as root: the README's commands in fresh Debian roots; SUITE="bookworm trixie" picks some
#: make criu          as root: a CRIU that works on this kernel, for snapshots; niwa does without it otherwise
#: make bench         as root: benchmarks; BENCH="wake-frozen start" picks some
#: make demo          as root: three real applications asleep on this machine, woken one by one
#: make demo-wordpress  as root: WordPress and its database asleep; a page wakes both
#: make demo-stop     as root: takes the demos away
#: make install       programs, units, manuals, configuration (PREFIX, DESTDIR); make uninstall takes them away

root:
	@[ "$$(id -u)" = 0 ] || { echo "make: this needs root: sudo make $(MAKECMDGOALS)" >&2; exit 1; }

setup: root
	scripts/setup-debian build run test demo criu

criu: root
	PREFIX=$(PREFIX) DESTDIR=$(DESTDIR) scripts/build-criu

check: all
	meson test -C $(BUILD) --print-errorlogs

test: root
	scripts/setup-debian build run test criu
	$(MAKE) all
	scripts/run-tests

check-asan:
	scripts/check-variant asan

check-clang:
	scripts/check-variant clang

test-vm: root
	scripts/setup-debian build run test vm
	tests/vm/run $(VM)

test-fresh: root
	scripts/setup-debian vm
	tests/vm/fresh $(SUITE)

bench: root
	@scripts/setup-debian build run bench >&2
	@$(MAKE) --no-print-directory all >&2
	@bench/run $(BENCH)

demo: root
	scripts/setup-debian build run demo
	$(MAKE) all
	scripts/demo

demo-wordpress: root
	scripts/setup-debian build run demo-wordpress criu
	$(MAKE) all
	scripts/demo-wordpress

demo-stop: root
	scripts/demo-stop

# Paths are compiled in, so the build has to know the prefix.
install: $(BUILD)/build.ninja
	@meson introspect $(BUILD) --buildoptions | tr '{' '\n' | grep -q '"prefix", "value": "$(PREFIX)"' || \
		meson configure $(BUILD) --prefix=$(PREFIX)
	ninja -C $(BUILD)
	BUILD=$(BUILD) PREFIX=$(PREFIX) DESTDIR=$(DESTDIR) scripts/install

uninstall:
	BUILD=$(BUILD) PREFIX=$(PREFIX) DESTDIR=$(DESTDIR) scripts/install --remove

clean:
	rm -rf $(BUILD) build-asan build-clang
