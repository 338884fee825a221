# SPDX-License-Identifier: MIT
"""What applying changes, and what it says."""
import json
import socket
import subprocess
import time

import pytest
from host import SLOW, RpcError

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
        time.sleep(0.3 * SLOW)  # until it listens
        host.apply(text)
        time.sleep(0.3 * SLOW)
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


PLACES = """
# a comment, so that lines are counted
apps:
  - name: {name}
    image: host
    command: [/usr/bin/sleep, "60"]
    ports:
      - {{port: 8080, protocol: http}}
      - port: 8081
        publish: "127.0.0.1:18190"
"""


def test_a_published_port_that_another_app_has_is_told_with_file_and_line(host):
    host.apply(PLACES.format(name="first"))
    done = host.apply(PLACES.format(name="second"), check=False)
    assert done.returncode == 1
    assert f"{host.dir}/apps.yaml:10: apps[0].ports[1].publish of second: 127.0.0.1:18190 is published by app first already" in done.stderr
    assert "nothing was changed" in done.stderr


def test_a_port_in_use_on_the_host_is_told_with_file_and_line(host):
    with socket.create_server(("127.0.0.1", 18190)):
        done = host.apply(PLACES.format(name="web"), check=False)
    assert f"{host.dir}/apps.yaml:10: apps[0].ports[1].publish of web: cannot listen on 127.0.0.1:18190 (another" in done.stderr


def test_a_refusal_names_app_and_key_for_other_programs(host):
    host.apply(PLACES.format(name="first"))
    rpc = host.connect()
    txn = rpc.call("apply.begin")["txn"]
    app = {"name": "second", "image": "host", "command": ["/usr/bin/sleep", "60"],
           "ports": [{"port": 80, "publish": "127.0.0.1:18190"}]}
    rpc.call("apply.put", txn=txn, apps=[app])
    with pytest.raises(RpcError) as refused:
        rpc.call("apply.commit", txn=txn)
    assert refused.value.data == {"kind": "caller", "app": "second", "key": "ports[0].publish"}
    txn = rpc.call("apply.begin")["txn"]
    with pytest.raises(RpcError) as refused:
        rpc.call("apply.put", txn=txn, apps=[{**app, "ports": [{"port": 80, "protocol": "htp"}]}])
    assert refused.value.data == {"kind": "caller", "app": "second", "key": "ports[0].protocol"}
    rpc.close()


MISSING = """
apps:
  - name: a
    image: nowhere
    command: [/bin/x]
    ports: [{port: 80}]
  - name: b
    image: nowhere
    command: [/bin/x]
    ports: [{port: 80}]
  - name: c
    image: host
    command: [/usr/bin/no-such-command]
    ports: [{port: 80}]
    volumes:
      - {from: /no/such/inner, to: /srv/one/two, read_only: true}
      - {from: /no/such/outer, to: /srv/one, read_only: true}
  - name: d
    image: host
    command: [sleep, "60"]
    ports: [{port: 80}]
"""


def test_what_the_first_wake_would_miss_is_a_warning_of_apply(host):
    done = host.apply(MISSING)
    path = f"niwa: warning: {host.dir}/apps.yaml"
    said = done.stderr.splitlines()
    assert "added 4" in done.stdout
    assert said[0].startswith(f"{path}:4: apps[0].image of a: ") and "nowhere" in said[0] and "1 more app)" in said[0], said
    assert said[1].startswith(f"{path}:13: apps[2].command of c: '/usr/bin/no-such-command' is not in image 'host'"), said
    assert said[2].startswith(f"{path}:17: apps[2].volumes[1].from of c: '/no/such/outer' (create it"), said
    assert said[3].startswith(f"{path}:16: apps[2].volumes[0].from of c: '/no/such/inner' (create it"), said
    assert len(said) == 4
    again = host.niwa("apply", "--json", host.dir / "apps.yaml")
    answer = json.loads(again.stdout)
    assert answer["unchanged"] == 4 and again.stderr == ""
    assert [(w["app"], w["key"], w["line"]) for w in answer["warnings"]] == [
        ("a", "image", 4), ("c", "command", 13), ("c", "volumes[0].from", 17), ("c", "volumes[1].from", 16)]


def test_a_user_that_the_image_does_not_have_is_a_warning_of_apply(host):
    done = host.apply("""
apps:
  - name: a
    image: host
    command: [sleep, "60"]
    user: nosuch
    ports: [{port: 80}]
  - name: b
    image: host
    command: [sleep, "60"]
    user: "12345"
    ports: [{port: 80}]
""")
    said = done.stderr.splitlines()
    assert len(said) == 1 and said[0].startswith(f"niwa: warning: {host.dir}/apps.yaml:6: apps[0].user of a: ") and "nosuch" in said[0], said


def test_a_command_on_a_volume_is_not_warned_of(host):
    (host.dir / "tools").mkdir()
    done = host.apply(f"""
apps:
  - name: a
    image: host
    command: [/tools/run]
    ports: [{{port: 80}}]
    volumes: [{{from: "{host.dir}/tools", to: /tools, read_only: true}}]
""")
    assert done.stderr == ""
