"""Addresses of signing in. ``account_…`` are names that django-allauth looks for."""

from __future__ import annotations

from django.urls import path

from . import (
    invitation_views,
    member_views,
    provider_views,
    second_factor,
    session_views,
    tenant_views,
    views,
)

urlpatterns = [
    path("sign-in/", views.SignIn.as_view(), name="account_login"),
    path("sign-in/with/<slug:provider_id>/", provider_views.begin, name="oidc-begin"),
    path("sign-in/with/<slug:provider_id>/back/", provider_views.back, name="openid_connect_callback"),
    path("sign-out/", views.SignOut.as_view(), name="sign-out"),
    path("account/password/", views.OwnPassword.as_view(), name="own-password"),
    path("account/sessions/", session_views.own_sessions, name="own-sessions"),
    path("invitations/", invitation_views.invitation, name="invitation"),
    path("invitations/accept/", invitation_views.accept, name="invitation-accept"),
    path("invitations/account/", invitation_views.account, name="invitation-account"),
    path("invitations/leave/", invitation_views.leave, name="invitation-leave"),
    path("organisations/", tenant_views.organisations, name="organisations"),
    path("members/", member_views.members_page, name="members"),
    path("members/<uuid:member_id>/role/", member_views.change, name="member-role"),
    path("members/<uuid:member_id>/remove/", member_views.remove, name="member-remove"),
    path("members/invitations/", member_views.invite, name="member-invite"),
    path("members/invitations/<uuid:invitation_id>/revoke/", member_views.revoke, name="invitation-revoke"),
    path("account/again/", views.Again.as_view(), name="account_reauthenticate"),
    path("sign-in/second-factor/", second_factor.authenticate, name="mfa_authenticate"),
    path("account/second-factor/", second_factor.index, name="mfa_index"),
    path("account/second-factor/again/", second_factor.reauthenticate, name="mfa_reauthenticate"),
    path("account/second-factor/on/", second_factor.activate, name="mfa_activate_totp"),
    path("account/second-factor/off/", second_factor.deactivate, name="mfa_deactivate_totp"),
    path("account/second-factor/codes/", second_factor.view_codes, name="mfa_view_recovery_codes"),
    path("account/second-factor/codes/new/", second_factor.new_codes, name="mfa_generate_recovery_codes"),
]
