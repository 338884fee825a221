# SPDX-License-Identifier: MIT
"""Memory of a moment is given back once, to an app that has not lived since; and to that one, whatever came between."""

import urllib.error

import pytest
from clients import apply
from host import CRIU, Host
from test_snapshot import AWAKE, HIBERNATES, ask, counting, image, path


@pytest.fixture
def host(request):
    host = Host(criu=CRIU, **getattr(request, "param", {})).start()
    yield host
    host.stop()


def saved(host, data=None):
    address, data = counting(host, data, **HIBERNATES)
    assert ask(address) == (1, 0)
    host.wait_state("counter", "saved", timeout=30)
    return address, data


def test_memory_is_void_when_its_app_has_lived_without_criu(host):
    address, _ = saved(host)
    host.kill_niwad()
    host.configure(criu="/nonexistent/criu")
    host.start_niwad()
    assert ask(address) == (1, 0) and path(host, "counter") == "start"
    host.wait_state("counter", "stopped", timeout=30)
    host.kill_niwad()
    host.configure(criu=CRIU)
    host.start_niwad()
    assert ask(address) == (1, 0) and path(host, "counter") == "start"
    assert "memory of 1 apps that sleep is void" in host.niwad_log()


def test_memory_is_void_when_its_app_was_started_without_it(host):
    address, _ = saved(host)
    host.kill_niwad()
    host.start_niwad({"NIWA_FAULT": "niwad.restore-opens:EAGAIN"})  # too much is being done in the background
    host.wait_state("counter", "saved", timeout=30)
    assert ask(address) == (1, 0) and path(host, "counter") == "start"
    host.niwa("stop", "counter")
    assert host.state("counter") == "stopped" and not image(host, "counter")["usable"]
    assert "started without" in image(host, "counter")["last_reason"]
    assert ask(address) == (1, 0)


@pytest.mark.parametrize("host", [{"lease_count": 1}], indirect=True)
def test_memory_is_there_when_a_wake_failed_for_lack_of_something_else(host):
    address, _ = saved(host)
    apply(host, {"name": "other", "tenant": "web", "image": "host", "command": ["python3", "-m", "http.server", "80"],
                 "ports": [{"port": 80, "protocol": "http"}], "sleep": AWAKE})
    host.niwa("wake", "other")
    with pytest.raises(urllib.error.HTTPError, match="503"):
        ask(address)
    assert "all 1 id ranges are in use" in host.niwa("show", "counter").stdout
    host.wait_state("counter", "saved")
    host.niwa("stop", "other")
    assert ask(address) == (2, 0) and path(host, "counter") == "restore"


def test_memory_is_there_when_a_volume_was_away_for_a_while(host):
    data = host.dir / "volumes/data"
    data.mkdir(parents=True)
    address, _ = saved(host, data)
    data.parent.rename(host.dir / "elsewhere")
    with pytest.raises(urllib.error.HTTPError, match="503"):
        ask(address)
    assert "volumes/data" in host.niwa("show", "counter").stdout
    (host.dir / "elsewhere").rename(data.parent)
    host.wait_state("counter", "saved")
    assert ask(address) == (2, 0) and path(host, "counter") == "restore"
