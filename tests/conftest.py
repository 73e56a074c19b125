"""Puts ``tests/`` on the path: ``from support.netns import Lab`` works under importlib mode.

SIGTERM ends a run as Ctrl-C does, with everything that tests clean up. A shell starts background
commands deaf to Ctrl-C; they, and the programs under test, listen to it here.
"""

import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, signal.default_int_handler)
