"""``python -m fastsoftmax``, the same as the command ``fastsoftmax``."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
