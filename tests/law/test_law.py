#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The checks of the house rules find what they are there to find: each is run on a small tree with one sin."""
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
TAG = "/* SPDX-License-Identifier: MIT */\n"
GOOD_HEADER = TAG + "#ifndef G_H\n#define G_H\n\nint niwa_good(void);\n\n#endif\n"
LONG = "int f(void)\n{\n" + "\tg();\n" * 90 + "\treturn 0;\n}\n"
MANY = "int x;\n" * 900


class Law(unittest.TestCase):
    """(check, path, text, what it says; None: it is content)"""

    SINS = [
        ("includes", "src/base/a.c", TAG + '#include "base/good.h"\n', None),
        ("includes", "src/base/a.c", TAG + '#include "engine/x.h"\n', "base may include nothing"),
        ("includes", "src/cli/a.c", TAG + '#include "../base/good.h"\n', "no relative"),
        ("includes", "src/cli/a.c", TAG + '#include <base/good.h>\n', "our own headers"),
        ("includes", "src/cli/a.c", TAG + '#include "base/good_private.h"\n', "private to src/base"),
        ("includes", "src/cli/a.c", TAG + '#include "good.h"\n', "FOLDER/good.h"),
        ("includes", "src/cli/a.c", TAG + '#include "base_private.h"\n', "is not beside it"),
        ("includes", "src/keep/a.c", TAG + '#include "container/image.h"\n', "keep may include container/plan.h"),
        ("includes", "src/net/a.c", TAG + "#include <net/if.h>\n", None),
        ("includes", "src/attic/a.c", TAG, "has no row"),
        ("includes", "src/relay/meson.build", "dependencies: [dep_engine]\n", "uses engine"),
        ("sizes", "src/base/a.c", TAG + LONG, "f() has 94 lines"),
        ("sizes", "src/base/a.c", TAG + MANY, "901 lines"),
        ("text", "src/base/a.c", "int x;\n", "carries no"),
        ("text", "src/base/utils.c", TAG, "has no purpose"),
        ("text", "src/base/a.c", TAG + "/* TODO later */\n", "TODO(owner)"),
        ("text", "src/base/a.c", TAG + "/* TODO(ada): when Linux 7 is everywhere */\n", None),
        ("text", "src/base/a.c", TAG + "typedef struct x *x_t;\n", "typedef of a pointer"),
        ("text", "src/base/a.c", TAG + "typedef int (*x_fn)(void);\n", "typedef of a pointer"),
        ("text", "src/base/a.c", TAG + "typedef int x_fn(void *);\n", None),
        ("text", "src/base/a.c", TAG + "typedef unsigned x_t;\n", "only function types"),
        ("text", "src/base/a.c", TAG + "int x; \n", "blanks at the end"),
        ("headers", "src/base/a.h", TAG + "size_t f(void);\n", "does not compile alone"),
        ("headers", "src/base/a.h", TAG + "struct a { int x; };\n", "does not compile alone"),
        ("format", "src/base/a.c", TAG + "int  f( void );\n", "clang-format would change"),
        ("scripts", "scripts/a", "#!/bin/bash\nrm -rf $1\n", "SC2086"),
        ("scripts", "scripts/a.py", "def f(:\n", "scripts/a.py:1"),
    ]

    def test_each_sin_is_found(self):
        for check, path, text, expected in self.SINS:
            with self.subTest(check=check, path=path, expected=expected), tempfile.TemporaryDirectory() as root:
                for folder in ("tests/law", "src/base", "scripts"):
                    os.makedirs(os.path.join(root, folder))
                for name in ("long-ones", "unformatted"):
                    with open(f"{root}/tests/law/{name}", "w", encoding="utf-8"):
                        pass
                shutil.copy(os.path.join(HERE, "..", "..", ".clang-format"), root)
                for name, content in (("src/base/good.h", GOOD_HEADER), ("scripts/good", "#!/bin/sh\ntrue\n"),
                                      *((f"src/{f}/meson.build", "") for f in ("base", "cli", "keep")), (path, text)):
                    os.makedirs(os.path.dirname(f"{root}/{name}"), exist_ok=True)
                    with open(f"{root}/{name}", "w", encoding="utf-8") as file:
                        file.write(content)
                done = subprocess.run([sys.executable, "-B", f"{HERE}/check_{check}.py"], text=True, capture_output=True,
                                      env=dict(os.environ, NIWA_LAW_ROOT=root), check=False)
                if done.returncode == 77:
                    self.skipTest(done.stdout)
                said = done.stdout + done.stderr
                self.assertEqual(done.returncode, 0 if expected is None else 1, said)
                if expected:
                    self.assertIn(expected, said)


unittest.main()
