# SPDX-License-Identifier: MIT
"""Apps that are woken from an image of their processes."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from clients import ASK, apply, record
from host import Host, wait_for

CRIU = Path(os.environ.get("NIWA_CRIU", "/usr/local/libexec/niwa/criu"))
AWAKE = {"freeze": "never", "page": "never", "save": "never"}


@pytest.fixture
def garden():
    """A host that has CRIU."""
    host = Host(criu=CRIU).start()
    yield host
    host.stop()


def image(host, name):
    return host.show(name)["snapshot"]


def taken(host, name):
    """Waits until the app has an image; returns what is known of it."""
    wait_for(f"an image of {name} is taken", lambda: image(host, name)["usable"] or image(host, name).get("last_reason"))
    known = image(host, name)
    assert known["usable"], known
    return known


def asleep_with_image(host, name, **keys):
    apply(host, record(name, sleep=AWAKE, **keys))
    address = host.address(name)
    assert ASK[name](address)
    taken(host, name)
    host.niwa("stop", name)
    assert host.state(name) == "saved"
    return address


def path(host, name):
    return host.show(name)["last_wake"]["path"]


@pytest.mark.parametrize("name", ["php", "django"])
def test_an_app_is_woken_from_its_image(garden, name):
    address = asleep_with_image(garden, name, snapshot="ready")
    assert ASK[name](address)
    assert path(garden, name) == "restore"
    assert garden.state(name) == "running"
