"""A Django site that starts Celery tasks and shows their live logs. Run: python site_settings.py runserver."""

import os
import sys

from celery_app import build
from django.conf import settings

HERE = os.path.dirname(os.path.abspath(__file__))


def can_view(request, task):
    """The site's own permission: here, a cookie stands for a signed-in user."""
    return request.COOKIES.get("user") == "alice"


settings.configure(
    DEBUG=True,
    SECRET_KEY="for the example only",
    ALLOWED_HOSTS=["127.0.0.1"],
    ROOT_URLCONF="site_settings",
    INSTALLED_APPS=["django.contrib.staticfiles", "tasktail.django"],
    STATIC_URL="static/",
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "DIRS": [HERE], "APP_DIRS": True}],
    TASKTAIL={
        "URL": os.environ.get("TASKTAIL_URL", "http://127.0.0.1:7117"),
        "SHARE_KEY_FILE": os.environ.get("SHARE_KEY_FILE"),
        "CAN_VIEW": "site_settings.can_view",
    },
)

from django.http import HttpResponseForbidden  # noqa: E402
from django.shortcuts import render  # noqa: E402
from django.urls import include, path  # noqa: E402


def start(request, package):
    """Starts a Celery task and shows its log on a page of the site."""
    if not can_view(request, None):
        return HttpResponseForbidden("sign in first")
    job = build.delay(package)
    return render(request, "build.html", {"package": package, "task": job.id})


urlpatterns = [path("build/<str:package>", start), path("logs/", include("tasktail.django.urls"))]

if __name__ == "__main__":
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)
