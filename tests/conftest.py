"""Puts ``tests/`` on the path: ``from support.netns import Lab`` works under importlib mode.

SIGTERM ends a run as Ctrl-C does, with everything that tests clean up. A shell starts background
commands deaf to Ctrl-C; they, and the programs under test, listen to it here.

No example of a property has a deadline: a busy machine is no bug, and speed is measured in ``bench/``.
"""

import signal
import sys
from pathlib import Path

from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, signal.default_int_handler)

settings.register_profile("kroute", deadline=None)
settings.load_profile("kroute")
