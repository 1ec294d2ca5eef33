"""``python -m traceleft.tracer.qualify``."""

import sys

from traceleft.tracer.qualify.battery import main

if __name__ == "__main__":
    sys.exit(main())
