#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""bench restore-node: Node.js."""
import sys

import restore

sys.exit(restore.software("node"))
