#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""bench restore-wordpress: WordPress on Apache with mod_php; its MariaDB is awake."""
import sys

import restore

sys.exit(restore.software("wordpress", most=75, least=5))
