# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Stands in for get-pip.py where ansible-test would download it: pip from ensurepip, at the version that is asked for."""

from __future__ import annotations

import subprocess
import sys

if __name__ == "__main__":
    wanted = [argument for argument in sys.argv[1:] if argument not in ("--no-setuptools", "--no-wheel")]
    subprocess.check_call([sys.executable, "-m", "ensurepip", "--default-pip"])
    subprocess.check_call([sys.executable, "-m", "pip", "install", "--upgrade"] + wanted)
