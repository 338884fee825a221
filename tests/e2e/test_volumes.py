# SPDX-License-Identifier: MIT
"""Whose files on a volume are, on both sides; and that everything else is gone with its instance."""

import os
import pwd
import stat
from pathlib import Path

import pytest
from host import Host
from inside import app, apply, run

MAIL = pwd.getpwnam("mail")


@pytest.fixture(scope="module")
def host():
    h = Host().start()
    yield h
    h.stop()


@pytest.fixture
def folder(host, request):
    path = host.dir / "volumes" / request.node.name.replace("[", "-").rstrip("]")
    path.mkdir(parents=True)
    return path


def at(folder, to="/srv/data", **keys):
    return {"from": str(folder), "to": to, **keys}


def ids(path):
    st = os.lstat(path)
    return st.st_uid, st.st_gid


def sh(host, name, script, **how):
    return run(host, name, "sh", "-c", script, **how)


def test_files_of_a_tenant_have_the_tenant_s_ids_and_are_its_own_after_a_restart(host, name, folder):
    apply(host, app(name, tenant="one", volumes=[at(folder)]))
    sh(host, name, "cd /srv/data; umask 077; echo root >r; echo web >w; chown www-data:mail w")
    base = ids(folder)[0]
    assert base >= 65536 and base % 65536 == 0, "the empty folder was given to the tenant"
    assert ids(folder / "r") == (base, base)
    assert ids(folder / "w") == (base + 33, base + 8)
    lease = Path(f"/proc/{host.pid(name)}/uid_map").read_text()
    host.niwa("stop", name)
    apply(host, app("other.example.com", tenant="two"))
    host.niwa("wake", "other.example.com")  # takes the range that has become free
    assert sh(host, name, "cd /srv/data; cat r w; stat -c %U:%G r w").stdout == "root\nweb\nroot:root\nwww-data:mail\n"
    assert Path(f"/proc/{host.pid(name)}/uid_map").read_text() != lease


def test_a_volume_of_another_tenant_stays_closed_even_where_an_app_file_names_it(host, name, folder):
    apply(host, app(name, tenant="one", volumes=[at(folder)]))
    sh(host, name, "umask 077; echo private >/srv/data/file; mkdir /srv/data/dir; echo private >/srv/data/dir/file")
    apply(host, app(name, tenant="one"), app("b.example.com", tenant="two", volumes=[at(folder)]))
    out = sh(host, "b.example.com", "cd /srv/data; stat -c %u file; cat file; cat dir/file; chown 0 file; rm file; echo x >new; true", check=False)
    assert out.stdout == "65534\n"
    assert (folder / "file").read_text() == "private\n" and not (folder / "new").exists()


def test_a_volume_of_a_user_of_the_host_has_that_user_s_files(host, name, folder):
    os.chown(folder, MAIL.pw_uid, MAIL.pw_gid)
    (folder / "before").write_text("of the host\n")
    os.chown(folder / "before", MAIL.pw_uid, MAIL.pw_gid)
    (folder / "before").chmod(0o600)
    apply(host, app(name, user="www-data", volumes=[at(folder, owner="mail")]))
    out = sh(host, name, "cd /srv/data; cat before; echo new >new; stat -c %U:%G before new").stdout
    assert out == "of the host\nwww-data:www-data\nwww-data:www-data\n"
    assert ids(folder / "new") == (MAIL.pw_uid, MAIL.pw_gid)


def test_on_a_volume_of_a_user_no_other_id_exists(host, name, folder):
    os.chown(folder, MAIL.pw_uid, MAIL.pw_gid)
    (folder / "root-s").write_text("of root\n")
    (folder / "root-s").chmod(0o600)
    (folder / "ada-s").write_text("of somebody\n")
    os.chown(folder / "ada-s", 1000, 1000)
    (folder / "ada-s").chmod(0o600)
    apply(host, app(name, volumes=[at(folder, owner="mail")]))
    script = """cd /srv/data; stat -c %u root-s ada-s; echo mine >mine; cat root-s ada-s; chown 33 mine && echo changed; chown 0 root-s && echo taken; chmod 777 ada-s && echo open
touch /tmp/probe; setpriv --reuid 33 --clear-groups touch other && echo made; true"""
    out = sh(host, name, script).stdout
    assert out == "65534\n65534\n", out
    assert ids(folder / "mine") == (MAIL.pw_uid, MAIL.pw_gid), "the container's root is that user"
    assert stat.S_IMODE((folder / "ada-s").stat().st_mode) == 0o600


def test_root_of_the_host_never_owns_a_volume(host, name, folder):
    for owner in ("root", "0"):
        done = apply(host, app(name, volumes=[at(folder, owner=owner)]), check=False)
        if done.returncode == 0:
            done = host.niwa("wake", name, check=False)
        assert done.returncode != 0 and "root" in done.stderr


def test_an_owner_that_is_no_user_of_the_host_is_named(host, name, folder):
    apply(host, app(name, volumes=[at(folder, owner="nobody-here")]))
    done = host.niwa("wake", name, check=False)
    assert done.returncode == 1 and "'nobody-here' is no user of this host" in done.stderr


def test_set_user_files_and_devices_on_a_volume_do_nothing(host, name, folder):
    os.chown(folder, MAIL.pw_uid, MAIL.pw_gid)
    program = folder / "id"
    program.write_bytes(Path("/usr/bin/id").read_bytes())
    os.chown(program, 0, 0)
    program.chmod(0o6755)
    os.mknod(folder / "memory", 0o666 | stat.S_IFCHR, os.makedev(1, 1))
    os.mknod(folder / "zero", 0o666 | stat.S_IFCHR, os.makedev(1, 5))
    for device in ("memory", "zero"):
        (folder / device).chmod(0o666)
    apply(host, app(name, user="www-data", volumes=[at(folder, owner="mail")]))
    assert sh(host, name, "/srv/data/id -u; /srv/data/id -g").stdout == "33\n33\n"
    for device in ("memory", "zero"):
        assert "Permission denied" in sh(host, name, f"head -c1 /srv/data/{device}", check=False).stderr


def test_a_read_only_volume_is_read_only_for_root_of_the_container_too(host, name, folder):
    (folder / "file").write_text("content\n")
    apply(host, app(name, volumes=[at(folder, read_only=True)]))
    done = sh(host, name, "cd /srv/data; cat file; echo x >file; rm file; touch new; mount -o remount,rw /srv/data", check=False)
    assert done.stdout == "content\n" and done.stderr.count("Read-only file system") == 3, done.stderr
    assert (folder / "file").read_text() == "content\n" and not (folder / "new").exists()


def test_an_empty_volume_that_is_only_read_is_not_given_to_the_tenant(host, name, folder):
    before = os.stat(folder)
    apply(host, app(name, volumes=[at(folder, read_only=True)]))
    sh(host, name, "ls /srv/data")
    assert os.stat(folder).st_ctime_ns == before.st_ctime_ns, "a change of it would void the image of this start"


def test_a_volume_may_be_a_file(host, name, folder):
    (folder / "app.conf").write_text("setting = 1\n")
    apply(host, app(name, volumes=[at(folder / "app.conf", "/etc/app/app.conf", read_only=True)]))
    done = sh(host, name, "cat /etc/app/app.conf; ls /etc/app; echo x >/etc/app/app.conf", check=False)
    assert done.stdout == "setting = 1\napp.conf\n" and "Read-only" in done.stderr


def test_volumes_may_lie_in_one_another_and_in_folders_that_the_image_lacks(host, name, folder):
    for name in ("outer", "inner"):
        (folder / name).mkdir()
    apply(host, app(name, volumes=[at(folder / "inner", "/data/deep/er/in"), at(folder / "outer", "/data/deep/er")]))
    sh(host, name, "echo i >/data/deep/er/in/i; echo o >/data/deep/er/o")
    assert (folder / "inner/i").read_text() == "i\n" and (folder / "outer/o").read_text() == "o\n"


def test_links_on_a_volume_and_in_the_place_of_one_lead_nowhere_outside(host, name, folder):
    (folder / "inside").mkdir()
    (folder / "secret").write_text("of the host\n")
    os.symlink(folder / "secret", folder / "inside/link")
    os.symlink("../../../../../../../../../../../.." + str(folder / "secret"), folder / "inside/dots")
    apply(host, app(name, volumes=[at(folder / "inside")]))
    done = sh(host, name, "cat /srv/data/link /srv/data/dots", check=False)
    assert done.stdout == "" and done.stderr.count("No such file") == 2


def test_what_is_mounted_below_a_volume_on_the_host_is_not_in_it(host, name, folder):
    """The volume is the folder that was named, not every file system that somebody mounts there."""
    (folder / "below").mkdir()
    assert os.system(f"mount -t tmpfs none {folder}/below && touch {folder}/below/hidden") == 0
    try:
        apply(host, app(name, volumes=[at(folder)]))
        assert sh(host, name, "ls /srv/data/below").stdout == ""
    finally:
        os.system(f"umount {folder}/below")


def test_a_volume_whose_source_is_missing_is_named_and_the_next_wake_finds_it(host, name, folder):
    apply(host, app(name, volumes=[at(folder / "later")]))
    done = host.niwa("wake", name, check=False)
    assert done.returncode == 1
    assert f"volumes[0].from: '{folder}/later'" in done.stderr and "No such file or directory" in done.stderr
    (folder / "later").mkdir()
    host.niwa("wake", name)
    assert host.state(name) == "running"


def test_a_symbolic_link_on_the_way_to_a_source_is_not_followed(host, name, folder):
    (folder / "link").symlink_to("/etc")
    apply(host, app(name, volumes=[at(folder / "link/ssl")]))
    done = host.niwa("wake", name, check=False)
    assert done.returncode == 1
    assert "leads through a symbolic link" in done.stderr and "write '/etc/ssl'" in done.stderr


def test_two_apps_write_to_one_folder_only_when_both_say_shared(host, name, folder):
    pair = [app(n, tenant="pair", volumes=[at(folder)]) for n in (name, "other." + name)]
    done = apply(host, *pair, check=False)
    assert done.returncode != 0 and "shared" in done.stderr
    for record in pair:
        record["volumes"][0]["shared"] = True
    apply(host, *pair)
    sh(host, name, "echo from a >/srv/data/file")
    assert sh(host, "other." + name, "cat /srv/data/file; echo from b >>/srv/data/file; stat -c %U /srv/data/file").stdout == "from a\nroot\n"
    assert (folder / "file").read_text() == "from a\nfrom b\n"


def test_what_is_written_elsewhere_is_gone_after_a_stop(host, name, folder):
    apply(host, app(name, volumes=[at(folder)]))
    sh(host, name, "echo x | tee /tmp/x /var/lib/x /etc/x /root/x >/srv/data/x")
    host.niwa("stop", name)
    assert sh(host, name, "ls /tmp /var/lib/x /etc/x /root /srv/data", check=False).stdout == "/root:\n\n/srv/data:\nx\n\n/tmp:\n"


@pytest.mark.parametrize("limits", [{}, {"disk": "32M"}])
def test_niwa_show_warns_when_an_app_writes_outside_its_volumes(host, name, folder, limits):
    apply(host, app(name, volumes=[at(folder)], limits=limits))
    sh(host, name, "head -c 3000000 /dev/zero >/srv/data/big; head -c 500000 /dev/zero >/var/tmp/small")
    assert host.show(name)["warnings"] == []
    sh(host, name, "head -c 2000000 /dev/zero >/var/tmp/big")
    warnings = host.show(name)["warnings"]
    assert len(warnings) == 1 and "outside volumes" in warnings[0]
    assert "outside volumes" in host.niwa("show", name).stdout


def test_a_folder_mounted_over_a_file_is_told_with_what_to_do(host):
    (host.dir / "folder").mkdir()
    (host.dir / "file").write_text("")
    text = """
apps:
  - name: one
    image: host
    command: [/usr/bin/sleep, "60"]
    ports: [{{port: 8080}}]
    volumes: [{{from: "{0}/{1}", to: {2}, read_only: true}}]
"""
    host.apply(text.format(host.dir, "folder", "/etc/passwd"))
    done = host.niwa("wake", "one", check=False)
    assert f"volumes[0].to: '/etc/passwd' is a file in the image, and volumes[0].from: '{host.dir}/folder' is a folder: " \
           "mount a folder over a folder, a file over a file" in done.stderr
    host.apply(text.format(host.dir, "file", "/var"))
    done = host.niwa("wake", "one", check=False)
    assert f"volumes[0].to: '/var' is a folder in the image, and volumes[0].from: '{host.dir}/file' is a file: " in done.stderr
