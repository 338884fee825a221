# SPDX-License-Identifier: MIT
"""The whole run happens in a network and mount namespace of its own: no service address can leak, and nothing of this
machine's network is touched."""

import ctypes
import itertools
import json
import os
import subprocess

import pytest

CLONE_NEWNS, CLONE_NEWNET = 0x00020000, 0x40000000
numbers = itertools.count(1)


def pytest_configure(config):
    if os.geteuid() != 0:
        pytest.exit("the end-to-end tests need root", returncode=1)
    if getattr(config.option, "numprocesses", None):
        return  # each worker of pytest-xdist has namespaces of its own, as if it ran on a machine of its own
    if os.environ.get("NIWA_E2E_INSIDE"):
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET | CLONE_NEWNS) != 0:
        pytest.exit(f"unshare: {os.strerror(ctypes.get_errno())}", returncode=1)
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    os.environ["NIWA_E2E_INSIDE"] = "1"


# Files that take longest: first, so that no worker is left alone with one of them.
LONG = ("test_real_restores", "test_snapshot", "test_databases", "test_real_software", "test_real_wakes", "test_rotation")


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: not item.module.__name__.rpartition(".")[2].startswith(LONG))


@pytest.fixture
def host():
    """A fresh host for one test."""
    from host import Host

    h = Host().start()
    yield h
    h.stop()


@pytest.fixture
def name(request):
    """A name of its own for each test of one host: none meets an instance that another one has left to be replaced."""
    host = request.getfixturevalue("garden" if "garden" in request.fixturenames else "host")
    name = f"app-{next(numbers)}.example.com"
    yield name
    host.niwa("rm", name, check=False)


@pytest.fixture(scope="module")
def zones():
    from zones import Zones

    z = Zones()
    yield z
    z.close()


@pytest.fixture(scope="module")
def own_host():
    from host import Host

    h = Host(start_wait="500ms").start()
    yield h
    h.stop()


@pytest.fixture
def tenant_host(own_host):
    """One for the tests of a module in which tenant `many` has limits."""
    from visitors import empty

    yield own_host
    own_host.apply(json.dumps({"tenants": [{"name": "many"}]}))
    empty(own_host)


@pytest.fixture(scope="module")
def shared_host():
    """One host for the tests of a module that do not disturb it."""
    from host import Host

    h = Host().start()
    yield h
    h.stop()


@pytest.fixture
def garden():
    """A fresh host that has CRIU."""
    from host import CRIU, Host

    h = Host(criu=CRIU).start()
    yield h
    h.stop()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A failed test shows what niwad said; in a virtual machine at once, for it may hang before the end."""
    outcome = yield
    report = outcome.get_result()
    if report.when == "call" and report.failed:
        for h in item.funcargs.values():
            if hasattr(h, "niwad_log") and h.dir.exists():
                try:
                    report.sections.append(("niwad", h.niwad_log()[-6000:]))
                    keep = h.dir / "log/keep.err"
                    report.sections.append(("niwa-keep and niwa-relay", keep.read_text(errors="replace")[-3000:]))
                except OSError as error:  # a test that uses up descriptors
                    report.sections.append(("niwad", f"its log cannot be read: {error}"))
    if report.failed and os.environ.get("NIWA_VM"):
        terminal = item.config.pluginmanager.get_plugin("terminalreporter")
        terminal.write_line(f"\nFAILED {item.nodeid}\n{report.longrepr}")
        for name, said in report.sections:
            terminal.write_line(f"--- {name}\n{said}")
