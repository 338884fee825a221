# SPDX-License-Identifier: MIT
"""scripts/build-criu: what it thinks of a CRIU that is there, and where it would look for another."""

import subprocess

import pytest
from host import CRIU, TOP

SCRIPT = TOP / "scripts/build-criu"
SECURITY = "deb http://security.invalid/debian-security bookworm-security main"
OLD_FORM = f"""# deb http://comment.invalid/debian bookworm main
{SECURITY}
deb [arch=amd64 signed-by=/usr/share/keyrings/a.gpg] http://mirror.invalid/debian bookworm main contrib
deb http://second.invalid/debian bookworm main
"""
NEW_FORM = """Types: deb
URIs: http://security.invalid/debian-security
Suites: trixie-security
Components: main
Signed-By: /usr/share/keyrings/s.gpg

Enabled: no
Types: deb
URIs: http://off.invalid/debian
Suites: trixie
Components: main

# a comment
Types: deb deb-src
URIs: http://mirror.invalid/debian
Suites: trixie trixie-updates
Components: main non-free
Signed-By: /usr/share/keyrings/a.gpg
"""


def fake(path, script):
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def judge(criu):
    done = subprocess.run([SCRIPT, "--test", criu], capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


def test_a_criu_that_is_too_old_is_named_with_its_version(tmp_path):
    status, said = judge(fake(tmp_path / "criu", "echo Version: 4.1.1"))
    assert status == 1
    assert "is 4.1.1, 4.2 is the least" in said


def test_a_criu_that_does_not_fit_the_kernel_is_refused_with_what_it_says(tmp_path):
    status, said = judge(fake(tmp_path / "criu", 'case $1 in --version) echo Version: 4.10;; *) echo "Error: no vdso"; exit 1;; esac'))
    assert status == 1
    assert "4.10" in said and "'criu check': Error: no vdso" in said


def test_a_criu_that_cannot_dump_is_refused_with_what_it_says(tmp_path):
    status, said = judge(fake(tmp_path / "criu",
                              'case $1 in --version) echo Version: 4.2;; check) ;; *) echo "Error: cannot $1" >&2; exit 1;; esac'))
    assert status == 1
    assert "Error: cannot dump" in said


def test_a_criu_that_says_it_has_restored_and_has_not_is_refused(tmp_path):
    lie = 'case $1 in --version) echo Version: 4.2;; dump) kill -9 "$3";; esac'
    status, said = judge(fake(tmp_path / "criu", lie))
    assert status == 1, said
    assert "fails on this kernel" in said


@pytest.mark.parametrize("options, status", [([], 1), (["-static"], 0)])
def test_a_criu_that_works_is_refused_when_it_is_dynamically_linked(tmp_path, options, status):
    (tmp_path / "source.c").write_text('#include <unistd.h>\nint main(int c, char **v) { (void)c; return execv("%s", v); }\n' % CRIU)
    subprocess.run(["cc", *options, "-o", tmp_path / "criu", tmp_path / "source.c"], check=True)
    found, said = judge(tmp_path / "criu")
    assert found == status, said
    assert ("dynamically linked" in said) == (status == 1), said


@pytest.mark.parametrize("name, text", [("sources.list", OLD_FORM), ("sources.list.d/debian.sources", NEW_FORM)])
def test_the_mirror_is_the_one_of_this_machine_in_both_formats_of_apt(tmp_path, name, text):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    (tmp_path / "sources.list.d").mkdir(exist_ok=True)
    path.write_text(text)
    done = subprocess.run(["unshare", "--mount", "sh", "-c", f"mount --bind {tmp_path} /etc/apt && exec {SCRIPT} --mirror"],
                          capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["http://mirror.invalid/debian", "/usr/share/keyrings/a.gpg"], done.stderr


@pytest.mark.parametrize("line, past", [("Valid-Until: Sat, 02 Mar 2024 20:11:44 UTC", True), ("Valid-Until: someday", True),
                                        ("Valid-Until: Sat, 02 Mar 2999 20:11:44 UTC", False), ("Suite: unstable", False)])
def test_an_index_that_is_past_its_date_is_told(tmp_path, line, past):
    index = tmp_path / "InRelease"
    index.write_text(f"Origin: Debian\n{line}\nDate: Sat, 24 Feb 2024 20:11:44 UTC\n")
    done = subprocess.run([SCRIPT, "--index", index], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert ("was good until" in done.stdout) == past, done.stdout
