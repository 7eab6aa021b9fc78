"""Views; both check the permission of the site first."""

from typing import Any

from django.http import Http404, JsonResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from tasktail._endpoint import check_id
from tasktail.django.share import config, may_view, sign


def _log(request: Any, task: str) -> Any:
    """Shows the log of a task as a page of its own."""
    _check(request, task)
    return render(request, "tasktail/page.html", {"task": task})


def _share(request: Any, task: str) -> Any:
    """Returns a new share for a page that is still open."""
    _check(request, task)
    return JsonResponse({"share": sign(task), "expires_in": config().life})


def _check(request: Any, task: str) -> None:
    try:
        allowed = may_view(request, check_id(task))
    except ValueError:
        allowed = False
    if not allowed:
        # Whether the task exists is not for the caller either.
        raise Http404("there is no such log, or it is not for you")


log = never_cache(require_GET(_log))
share = never_cache(require_GET(_share))
