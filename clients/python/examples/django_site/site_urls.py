"""Pages of the site, and its own permission check."""

from celery_app import build
from django.http import HttpResponseForbidden
from django.shortcuts import render
from django.urls import include, path


def can_view(request, task):
    """Here, a cookie stands for a signed-in user."""
    return request.COOKIES.get("user") == "alice"


def start(request, package):
    """Starts a Celery task and shows its log on a page of the site."""
    if not can_view(request, None):
        return HttpResponseForbidden("sign in first")
    job = build.delay(package)
    return render(request, "build.html", {"package": package, "task": job.id})


urlpatterns = [path("build/<str:package>", start), path("logs/", include("tasktail.django.urls"))]
