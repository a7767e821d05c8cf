"""Addresses of signing in. ``account_…`` are names that django-allauth looks for."""

from __future__ import annotations

from django.urls import path

from . import views

urlpatterns = [
    path("sign-in/", views.SignIn.as_view(), name="account_login"),
    path("sign-out/", views.SignOut.as_view(), name="sign-out"),
    path("account/password/", views.OwnPassword.as_view(), name="own-password"),
]
