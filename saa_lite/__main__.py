"""``python -m saa_lite`` is the command ``saa-lite``."""

import sys

from saa_lite.cli import main

if __name__ == "__main__":
    sys.exit(main())
