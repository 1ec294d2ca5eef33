"""``python -m traceleft`` is the ``traceleft`` command."""

import sys

from traceleft.cli import main

sys.exit(main())
