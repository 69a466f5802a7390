"""`python -m midspec` is `midspec`."""

import sys

from midspec.cli import main

if __name__ == "__main__":
    sys.exit(main())
