"""`{% load tasktail %} {% tasktail_log task_id %}`."""

from typing import Any, Dict, Mapping

from django import template
from django.core.exceptions import ImproperlyConfigured
from django.urls import NoReverseMatch, reverse

from tasktail._endpoint import check_id
from tasktail.django.share import config, may_view, sign

register = template.Library()


def _tasktail_log(context: Mapping[str, Any], task: Any) -> Dict[str, Any]:
    """Shows the live log of a task, if the site lets the request see it."""
    task = check_id(task)
    # A RequestContext has it also without the context processor for it.
    request = context.get("request") or getattr(context, "request", None)
    if request is None:
        raise ImproperlyConfigured("tasktail_log needs the request: render the template with django.shortcuts.render")
    if not may_view(request, task):
        return {"allowed": False}
    found = config()
    try:
        renew = reverse("tasktail:share", args=[task])
    except NoReverseMatch:
        # Without the routes of this application, a share cannot be renewed.
        renew = None
    return {
        "allowed": True,
        "element_url": found.element_url or f"{found.url}/assets/embed.js",
        "server": found.url,
        "task": task,
        "share": sign(task),
        "renew": renew,
    }


tasktail_log = register.inclusion_tag("tasktail/log.html", takes_context=True, name="tasktail_log")(_tasktail_log)
