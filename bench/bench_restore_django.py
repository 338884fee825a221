#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""bench restore-django: Django under gunicorn with two workers."""
import sys

import restore

sys.exit(restore.software("django", least=3))
