"""Puts ``tests/`` on the path: ``from support.netns import Lab`` works under importlib mode."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
