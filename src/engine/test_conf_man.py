#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The keys of niwad.conf(5) are those of the table in config.c: test_conf_man.py NIWAD MANUAL [--write]"""

import subprocess
import sys

niwad, manual = sys.argv[1:3]
keys = subprocess.run([niwad, "--print-config-man"], check=True, capture_output=True, text=True).stdout
text = open(manual).read()
begin, end = text.index(".It Sy run_dir"), text.index(".El\n.Sh CHANGING")
if "--write" in sys.argv:
    open(manual, "w").write(text[:begin] + keys + text[end:])
elif text[begin:end] != keys:
    sys.exit("the key section of niwad.conf.5 is not what niwad --print-config-man prints; run this with --write")
print("1 passed, 0 failed")
