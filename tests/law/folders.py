# SPDX-License-Identifier: MIT
"""Which folder of src may include which: the table of docs/architecture.md, as the checks read it."""

MAY_INCLUDE = {
    "base": [],
    "spec": ["base"],
    "cmdb": ["base", "spec"],
    "container": ["base", "spec"],
    "snapshot": ["base", "spec", "container"],
    "keep": ["base", "container"],
    "net": ["base"],
    "governor": ["base"],
    "engine": ["base", "spec", "cmdb", "container", "snapshot", "net", "governor"],
    "relay": ["base"],
    "api": ["base"],
    "init": ["base"],
    "sim": ["base", "governor"],
    "cli": ["base", "spec"],
}

# Headers of a folder that more may include than the folder's own row says, each with its reason.
PUBLIC = {
    # plain enums that travel in the relay's messages; no function behind them
    "spec/app.h": ["relay"],
    # images are imported by the command line, as root, not by the engine; the header stands alone
    "container/image_import.h": ["cli"],
}

# Rows that are narrower than a folder.
ONLY = {
    ("keep", "container"): ["container/plan.h", "container/keep_protocol.h"],
}
