"""Ctrl-C while a program imports its modules: one sentence and exit status 130, no traceback.

The programs of this folder import this module before all others, because the imports take up to
a second. A request to terminate (SIGTERM) and the end of the terminal (SIGHUP) count as Ctrl-C.
Later, `options.run_program` handles all three signals.
"""

import os
import signal
import sys


def end(number, frame):
    """A signal handler that ends the process. No file is written yet, so nothing is lost."""
    try:
        sys.stderr.write(f"{os.path.basename(sys.argv[0])}: interrupted before it was complete\n")
    finally:
        os._exit(130)                   # at once: some modules would ignore an exception


for name in ("SIGINT", "SIGTERM", "SIGHUP"):                            # Windows has no SIGHUP
    if signal.getsignal(getattr(signal, name, signal.SIGTERM)) is not signal.SIG_IGN:
        signal.signal(getattr(signal, name, signal.SIGTERM), end)
