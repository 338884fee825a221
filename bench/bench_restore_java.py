#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""bench restore-java: a Java HTTP server that works before it listens."""
import sys

import restore

sys.exit(restore.software("java"))
