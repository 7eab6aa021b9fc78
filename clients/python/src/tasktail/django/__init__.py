"""Shows the live log of a task on the pages of a Django site, after the site's own permission check.

    INSTALLED_APPS = [..., "tasktail.django"]
    TASKTAIL = {
        "URL": "https://logs.example",                    # the server, as browsers reach it
        "SHARE_KEY_FILE": "/etc/tasktail/share-jwt.key",  # the server's share_jwt_key_file
        "CAN_VIEW": "site.permissions.can_view_log",      # called with the request and the task's id
    }
    urlpatterns = [..., path("logs/", include("tasktail.django.urls"))]

and in a template: ``{% load tasktail %} {% tasktail_log task.id %}``.

The site signs a short-lived JWT for this one task, with which the browser reads the log from the server. The server
needs `share_jwt_key_file` with the same key, and the site's origin in `frame_ancestors`: the log is the element
``<tasktail-log>`` of the server's own ``/assets/embed.js``, which shows it in a frame. A secret of at least 32
characters is made with ``openssl rand -hex 32``.
"""
