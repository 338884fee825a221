#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""bench restore-rails: Rails under puma."""
import sys

import restore

sys.exit(restore.software("rails", least=10))
