"""`python -m tasktail`: runs the tasktail program of this package."""

import os
import sys

from tasktail import find_binary

if __name__ == "__main__":
    program = find_binary()
    os.execv(program, [program, *sys.argv[1:]])  # noqa: S606
