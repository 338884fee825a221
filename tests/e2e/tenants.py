# SPDX-License-Identifier: MIT
"""Tenant `many`, which has limits, and what its apps do."""

import json

IDLE = {"freeze": "100ms", "page": "never", "save": "1h"}
HOLD = "import sys, time; kept = b'x' * (int(sys.argv[1]) << 20); print('held', flush=True); time.sleep(60)"


def declare(host, *apps, check=True, **limits):
    """Applies the apps, which are of tenant `many`, with these limits."""
    tenant = {"name": "many", **({"limits": limits} if limits else {})}
    records = {"apps": [{"tenant": "many", **a} for a in apps]} if apps else {}
    return host.apply(json.dumps({"tenants": [tenant], **records}), check=check)
