# SPDX-License-Identifier: MIT
"""What is left of apps that were removed: nothing."""

from host import wait_for
from inside import app, apply, run


def tenants(host):
    return sorted(path.name for path in (host.dir / "run/tenants").iterdir())


def test_the_folder_of_a_tenant_goes_with_its_last_app_and_comes_with_the_next(host):
    for _ in range(2):
        apply(host, app("a.example.com", tenant="t"), app("b.example.com", tenant="t"), app("c.example.com", tenant="other"))
        for name in ("a.example.com", "b.example.com", "c.example.com"):
            host.niwa("wake", name)
        assert tenants(host) == ["other", "t"]
        assert "b.example.com" in run(host, "a.example.com", "cat", "/etc/hosts").stdout
        host.niwa("rm", "b.example.com")
        wait_for("the name is gone", lambda: "b.example.com" not in run(host, "a.example.com", "cat", "/etc/hosts").stdout)
        assert tenants(host) == ["other", "t"]
        host.niwa("rm", "a.example.com")
        wait_for("its folder is gone", lambda: tenants(host) == ["other"])
    apply(host, app("c.example.com", tenant="third"))
    wait_for("the app is another tenant's", lambda: "other" not in tenants(host))
    host.niwa("rm", "c.example.com")
    wait_for("nothing is left", lambda: not tenants(host) and host.nothing_left())


def test_folders_of_tenants_and_logs_of_apps_that_a_killed_niwad_left_are_collected(host):
    apply(host, app("a.example.com", tenant="t"))
    host.niwa("wake", "a.example.com")
    host.kill_niwad()
    gone = host.dir / "run/tenants/gone"
    gone.mkdir()
    (gone / "hosts").write_text("127.0.0.1 localhost\n")
    log = host.dir / "log/.removed-77.1"
    log.write_text("secret\n")
    host.start_niwad()
    wait_for("it is collected", lambda: tenants(host) == ["t"] and not log.exists())
    assert "a.example.com" in run(host, "a.example.com", "cat", "/etc/hosts").stdout
