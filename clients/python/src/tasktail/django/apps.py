"""The application of `INSTALLED_APPS`."""

from django.apps import AppConfig


class TasktailConfig(AppConfig):  # type: ignore[misc]
    """`tasktail.django`."""

    name = "tasktail.django"
    label = "tasktail"
