# SPDX-License-Identifier: MIT
"""Who may connect to whom, in the kernel: as much as there are different ways to be let in, however many apps there are."""

from host import wait_for
from inside import app, apply


def port(allow):
    return [{"port": 80, "protocol": "http", "allow": allow}]


def may(host):
    """Entries that instances have."""
    return host.kernel_objects()["may"]


def test_an_instance_has_as_few_entries_when_a_thousand_apps_let_its_tenant_in_and_changes_leave_none_behind(host):
    opened = [app(f"open{n}.example.com", tenant=f"t{n % 50}", ports=port("any")) for n in range(500)]
    named = [app(f"named{n}.example.com", tenant="alan", ports=port(["grace", "ada"])) for n in range(500)]
    apply(host, app("caller.example.com", tenant="ada"), *opened, *named)
    host.niwa("wake", "caller.example.com")
    assert may(host) == 3  # its tenant, everybody, those of alan
    apply(host, *[dict(record, limits={"memory": "96M"}) for record in (*named[:50], *opened[:50])])
    assert may(host) == 3
    apply(host, dict(named[0], ports=port(["ada"])))
    assert may(host) == 4
    apply(host, dict(named[0], ports=port(["grace"])))
    assert may(host) == 3
    host.kill_niwad()
    host.start_niwad()
    assert may(host) == 3
    host.niwa("rm", "-q", "--yes", "--tenant", "alan")
    assert may(host) == 2
    host.niwa("stop", "caller.example.com")
    wait_for("nothing is left", host.nothing_left)
