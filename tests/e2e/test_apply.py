# SPDX-License-Identifier: MIT
"""What applying changes, and what it says."""
import subprocess
import time

APP = """
apps:
  - name: web
    image: host
    command: [/usr/bin/python3, -m, http.server, "8080"]
    ports:
      - {{port: 8080, protocol: http, publish: "127.0.0.1:{publish}"}}
    limits: {{processes: {processes}}}
"""


def declared_changes(host, text):
    """What `nft monitor` tells about the map of declared ports while the text is applied."""
    with subprocess.Popen(["nft", "monitor", "elements"], stdout=subprocess.PIPE, text=True) as monitor:
        time.sleep(0.3)  # until it listens
        host.apply(text)
        time.sleep(0.3)
        monitor.terminate()
        return [line for line in monitor.stdout if " declared " in line]


def test_a_change_that_leaves_the_ports_as_they_were_does_not_touch_the_packet_filter(host):
    added = declared_changes(host, APP.format(publish=18180, processes=64))
    assert len(added) == 1, added
    changed = declared_changes(host, APP.format(publish=18180, processes=65))
    assert changed == []
    assert host.show("web")["record"]["limits"]["processes"] == 65
    moved = declared_changes(host, APP.format(publish=18180, processes=65).replace("8080", "8081"))
    assert [line.split()[0] for line in moved] == ["delete", "add"], moved
