"""Routes, for ``path("logs/", include("tasktail.django.urls"))``."""

from django.urls import path

from tasktail.django import views

app_name = "tasktail"
urlpatterns = [
    path("<str:task>/", views.log, name="log"),
    path("<str:task>/share", views.share, name="share"),
]
