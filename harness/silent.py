"""Imported for what it does, first of all by the process that workers are forked from.

Ctrl-C goes to every process of the command: this one has nothing to say, and ends.
"""

import signal

signal.signal(signal.SIGINT, signal.SIG_DFL)
