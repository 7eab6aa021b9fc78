"""A callback plugin for Ansible that writes the events of a playbook, each with an id.

export ANSIBLE_CALLBACK_PLUGINS=$(python -m tasktail.ansible) ANSIBLE_CALLBACKS_ENABLED=tasktail_events
TASKTAIL_EVENTS=runs/site/events.jsonl ansible-playbook site.yml
"""

from pathlib import Path


def callback_plugins() -> str:
    """Returns the folder for ``ANSIBLE_CALLBACK_PLUGINS``."""
    return str(Path(__file__).parent / "callback_plugins")
