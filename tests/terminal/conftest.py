"""Leaves out, on other systems, the tests that simulate them on Linux."""

import sys

collect_ignore = [] if sys.platform == "linux" else ["test_atomic.py", "test_windows.py"]
