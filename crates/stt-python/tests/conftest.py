"""What holds for all tests."""

import signal

# A program that was started in the background of a shell ignores Ctrl-C, and so do its children:
# those of the tests are to be ended by it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
