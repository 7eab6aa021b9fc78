"""`python -m tasktail.ansible`: prints the folder for ``ANSIBLE_CALLBACK_PLUGINS``."""

import sys

from tasktail.ansible import callback_plugins

sys.stdout.write(callback_plugins() + "\n")
