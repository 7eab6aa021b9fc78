"""Settings: only what a site with live logs needs."""

import os
from pathlib import Path

DEBUG = True
SECRET_KEY = "for the example only"
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = "site_urls"
INSTALLED_APPS = ["django.contrib.staticfiles", "tasktail.django"]
STATIC_URL = "static/"
TEMPLATES = [
    {"BACKEND": "django.template.backends.django.DjangoTemplates", "DIRS": [Path(__file__).parent], "APP_DIRS": True}
]
TASKTAIL = {
    "URL": os.environ.get("TASKTAIL_URL", "http://127.0.0.1:7117"),
    "SHARE_KEY_FILE": os.environ.get("SHARE_KEY_FILE"),
    "CAN_VIEW": "site_urls.can_view",
}
