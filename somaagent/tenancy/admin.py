"""The operators' forms and lists of tenants, users, memberships, invitations and API keys."""

from __future__ import annotations

from typing import Any, cast

from django.contrib import admin, messages
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from unfold.admin import ModelAdmin, TabularInline
from unfold.decorators import action, display
from unfold.forms import UserCreationForm

from . import services, tenants
from .actor import Actor
from .admin_forms import ApiKeyForm, ChangedUserForm, HandedOutPasswordForm, TenantForm, TenantOwnedForm
from .admin_owners import KeepsOwners, KeepsOwnersForm, KeepsOwnersFormSet, KeepsOwnersOfTenant
from .audit.audited import AuditedAdmin
from .confirming import ConfirmingAdmin, Question
from .models import ApiKey, Invitation, Membership, Tenant, User
from .operators import Operator

SUSPEND_TENANTS = Question(
    "Suspend these tenants?",
    "Everybody in them is shut out at once: browser sessions and API keys are refused, open streams are cut "
    "off, schedules and webhooks wait. Turns that run go on to their end. Nothing is lost; resuming lets "
    "everybody in again. It is told in their audit.",
    "Yes, suspend",
)
RESUME_TENANTS = Question(
    "Resume these tenants?",
    "Their people and API keys are let in again, and their schedules go on.",
    "Yes, resume",
    dangerous=False,
)
INVITE_OWNER = Question(
    "Invite the first owner?",
    "You are shown a token, once, to pass on: whoever shows it becomes the owner. Tokens that were made for "
    "this before are dead.",
    "Make the invitation",
    dangerous=False,
)
REVOKE = Question(
    "Revoke these API keys?",
    "Whoever uses one of them is refused at once, and what they have open is cut off. A revoked key does not "
    "come back; a new one can be made.",
    "Yes, revoke",
)

# Roles are memberships; Django's groups would be a second way to say the same.
admin.site.unregister(Group)


def operator_of(request: HttpRequest) -> Actor | None:
    """The operator's membership; None for one who has none."""
    return getattr(request, "actor", None)


def operating(request: HttpRequest) -> Operator:
    """The operator, as services of operators are told of them."""
    mine = operator_of(request)
    return Operator(cast("User", request.user), "admin", mine.tenant_id if mine else None)


class TenantOwnedAdmin(AuditedAdmin, ModelAdmin):  # type: ignore[misc]  # Unfold has no types
    """Rows of one tenant, the operator's own: others are not seen, and new ones are made there."""

    form = TenantOwnedForm
    show_full_result_count = False
    list_per_page = 50
    compressed_fields = True
    warn_unsaved_form = True

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        return _of_tenant(super().get_form(request, obj, change, **kwargs), request)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        del obj
        return operator_of(request) is not None and super().has_add_permission(request)


class ReadOnlyAdmin(TenantOwnedAdmin):
    """What the platform wrote: to be read, not changed."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


def _of_tenant(form: Any, request: HttpRequest) -> Any:
    """The form class, for rows of the operator's tenant."""
    operator = operator_of(request)
    return type(form.__name__, (form,), {"tenant_id": operator.tenant_id if operator else None})


@admin.register(Tenant)
class TenantAdmin(ConfirmingAdmin, AuditedAdmin, ModelAdmin):  # type: ignore[misc]  # Unfold has no types
    """Tenants. What is done to one is told in its own audit, by the services that do it."""

    form = TenantForm
    audits_additions = False
    list_display = ("name", "slug", "is_live", "member_count", "requests_per_minute", "created_at")
    search_fields = ("name", "slug")
    list_filter = (("suspended_at", admin.EmptyFieldListFilter),)
    actions = ("suspend", "resume")
    actions_detail = ("suspend_this", "resume_this", "invite_owner")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Tenant]:
        return tenants.counted(super().get_queryset(request))

    def get_fields(self, request: HttpRequest, obj: Tenant | None = None) -> Any:
        own = ("name", "slug", "requests_per_minute")
        return (*own, "suspended_at", "member_count", "owner_count", "id", "created_at") if obj else own

    def get_readonly_fields(self, request: HttpRequest, obj: Tenant | None = None) -> Any:
        """Identity providers and commands know a tenant by its slug."""
        return ("slug", "suspended_at", "member_count", "owner_count", "id", "created_at") if obj else ()

    def get_prepopulated_fields(self, request: HttpRequest, obj: Tenant | None = None) -> Any:
        return {} if obj else {"slug": ("name",)}

    @display(description="Live", boolean=True)
    def is_live(self, tenant: Tenant) -> bool:
        return tenant.suspended_at is None

    @display(description="Members")
    def member_count(self, tenant: Any) -> int:
        return int(tenant.members)

    @display(description="Owners")
    def owner_count(self, tenant: Any) -> int:
        return int(tenant.owners)

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> list[Any]:
        """Those that would do something."""
        tenant: Any = self.get_object(request, object_id)
        useless = set() if tenant is None else _useless(tenant)
        found = super().get_actions_detail(request, object_id)
        return [each for each in found if each.path not in useless]

    def save_model(self, request: HttpRequest, obj: Tenant, form: Any, change: bool) -> None:
        operator = operating(request)
        if change:
            changes = {name: form.cleaned_data[name] for name in form.changed_data}
            tenants.tenant_change(operator=operator, tenant_id=obj.pk, changes=changes)
            return
        made, _ = tenants.tenant_make(operator=operator, **form.cleaned_data)
        obj.pk = made.pk
        obj._state.adding = False  # noqa: SLF001 the service has saved it
        messages.warning(request, f"Nobody can enter {made} yet: invite its first owner.")

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        """In Django's history; in the audit it is."""
        return ModelAdmin.log_change(self, request, obj, message)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Suspend it instead: a click must not delete all that an organisation has."""
        return False

    @action(description="Suspend the chosen tenants", permissions=["change"])
    def suspend(self, request: HttpRequest, rows: QuerySet[Tenant]) -> Any:
        return self.confirmed(request, rows, SUSPEND_TENANTS, self._suspend)

    @action(description="Resume the chosen tenants", permissions=["change"])
    def resume(self, request: HttpRequest, rows: QuerySet[Tenant]) -> Any:
        return self.confirmed(request, rows, RESUME_TENANTS, self._resume)

    @action(description="Suspend", url_path="suspend_this", icon="block", permissions=["change"])
    def suspend_this(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self.confirmed_here(request, object_id, SUSPEND_TENANTS, self._suspend)

    @action(description="Resume", url_path="resume_this", icon="play_arrow", permissions=["change"])
    def resume_this(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self.confirmed_here(request, object_id, RESUME_TENANTS, self._resume)

    @action(description="Invite its owner", url_path="invite_owner", icon="mail", permissions=["change"])
    def invite_owner(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self.confirmed_here(request, object_id, INVITE_OWNER, self._invite)

    def _suspend(self, request: HttpRequest, tenant: Tenant) -> None:
        tenants.tenant_suspend(operator=operating(request), tenant_id=tenant.pk)
        messages.success(request, f"{tenant} is suspended.")

    def _resume(self, request: HttpRequest, tenant: Tenant) -> None:
        tenants.tenant_resume(operator=operating(request), tenant_id=tenant.pk)
        messages.success(request, f"{tenant} is live.")

    def _invite(self, request: HttpRequest, tenant: Tenant) -> HttpResponse:
        invited = tenants.owner_invite(
            operator=operating(request), tenant_id=tenant.pk, first_owner=tenants.FirstOwner()
        )
        title = "The invitation of the first owner"
        return self.shown_once(request, tenant, title=title, secret=str(invited.token))


def _useless(tenant: Any) -> set[str]:
    useless = {"resume_this"} if tenant.suspended_at is None else {"suspend_this", "invite_owner"}
    return useless | ({"invite_owner"} if tenant.owners else set())


class MembershipInline(TabularInline):  # type: ignore[misc]  # Unfold has no types
    model = Membership
    form = KeepsOwnersForm
    formset = KeepsOwnersFormSet
    fields = ("role",)
    extra = 0
    max_num = 1
    verbose_name = "membership in your tenant"

    def get_formset(self, request: HttpRequest, obj: Any = None, **kwargs: Any) -> Any:
        formset = super().get_formset(request, obj, **kwargs)
        formset.form = _of_tenant(formset.form, request)
        return formset


class UserAdmin(KeepsOwners, AuditedAdmin, DjangoUserAdmin, ModelAdmin):  # type: ignore[type-arg,misc]  # Unfold has no types
    """Users. ``apps.admin`` registers it, with what needs to know of browser sessions."""

    form = ChangedUserForm
    add_form = UserCreationForm
    change_password_form = HandedOutPasswordForm
    list_display = (
        "username", "email", "role", "is_staff", "is_active", "password_is_one_time", "last_login",
    )  # fmt: skip
    list_filter = ("is_staff", "is_active", "password_is_one_time")
    search_fields = ("username", "email", "first_name", "last_name")
    readonly_fields = ("active", "last_login", "date_joined", "password_is_one_time")
    filter_horizontal = ()
    inlines = (MembershipInline,)
    fieldsets = (
        (None, {"fields": ("username", "password", "password_is_one_time")}),
        ("Person", {"fields": ("first_name", "last_name", "email")}),
        ("What they may do", {"fields": ("active", "is_staff", "is_superuser")}),
        ("Dates", {"fields": ("last_login", "date_joined")}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        return super().get_queryset(request).prefetch_related("memberships")

    @display(description="Role")
    def role(self, user: User) -> str:
        return ", ".join(membership.role for membership in user.memberships.all()) or "–"

    def get_inlines(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.inlines if operator_of(request) else ()

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Nobody gives more than they have. Somebody is shut out, and let in, by actions that ask first."""
        more = () if getattr(request.user, "is_superuser", False) else ("is_staff", "is_superuser")
        return (*super().get_readonly_fields(request, obj), *more)

    @display(description="Active", boolean=True)
    def active(self, user: User) -> bool:
        return user.is_active

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody changes, or gives a password to, who may do more than they."""
        more = getattr(obj, "is_superuser", False) and not getattr(request.user, "is_superuser", False)
        return not more and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """An operator is made none first: that asks whether another one is left."""
        return not getattr(obj, "is_staff", False) and super().has_delete_permission(request, obj)

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        if not change:
            obj.password_is_one_time = True
        super().save_model(request, obj, form, change)


@admin.register(Membership)
class MembershipAdmin(KeepsOwnersOfTenant, TenantOwnedAdmin):
    form = KeepsOwnersForm
    list_display = ("user", "role", "created_at")
    list_filter = ("role",)
    list_select_related = ("user",)
    search_fields = ("user__username", "user__email")
    autocomplete_fields = ("user",)
    fields = ("user", "role")


@admin.register(Invitation)
class InvitationAdmin(ReadOnlyAdmin):
    """Made and revoked over the API, by owners and admins."""

    list_display = ("name", "role", "invited_by", "expires_at", "accepted_by", "accepted_at", "revoked_at")
    list_filter = ("role", ("accepted_at", admin.EmptyFieldListFilter))
    list_select_related = ("invited_by", "accepted_by")
    search_fields = ("name", "invited_by__username", "accepted_by__username")
    fields = ("id", "created_at", *list_display)


@admin.register(ApiKey)
class ApiKeyAdmin(ConfirmingAdmin, TenantOwnedAdmin):
    """A key's text is shown once, when it is made; of its digest nothing is shown ever."""

    form = ApiKeyForm
    audits_additions = False
    list_display = ("name", "prefix", "user", "scopes", "state", "last_used_at", "expires_at")
    list_filter = (("revoked_at", admin.EmptyFieldListFilter),)
    list_select_related = ("user",)
    search_fields = ("name", "prefix", "user__username")
    autocomplete_fields = ("user",)
    actions = ("revoke",)
    actions_detail = ("revoke_this",)

    def get_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> Any:
        if obj is None:
            return ("user", "name", "scopes", "expires_at", "requests_per_minute")
        return (
            "name", "user", "prefix", "scopes", "expires_at", "requests_per_minute", "created_at",
            "last_used_at", "revoked_at",
        )  # fmt: skip

    def get_readonly_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> Any:
        return ("user", "prefix", "scopes", "created_at", "last_used_at", "revoked_at") if obj else ()

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        if obj is not None:
            kwargs["form"] = TenantOwnedForm
        return super().get_form(request, obj, change, **kwargs)

    @display(description="State", label={"live": "success", "expired": "warning", "revoked": "danger"})
    def state(self, key: ApiKey) -> str:
        if key.revoked_at is not None:
            return "revoked"
        return "expired" if key.expires_at is not None and key.expires_at < timezone.now() else "live"

    def save_model(self, request: HttpRequest, obj: ApiKey, form: Any, change: bool) -> None:
        if change:
            super().save_model(request, obj, form, change)
            return
        key, text = services.api_key_create(
            tenant_id=obj.tenant_id,
            user_id=obj.user_id,
            name=obj.name,
            scopes=obj.scopes,
            expires_at=obj.expires_at,
            requests_per_minute=obj.requests_per_minute,
            by=operator_of(request),
        )
        obj.id, obj.prefix, obj.digest = key.id, key.prefix, key.digest
        obj._state.adding = False  # noqa: SLF001 the service has saved it
        messages.warning(request, f"The new key is {text} – copy it now: it is not shown again.")

    @action(description="Revoke the chosen keys", permissions=["change"])
    def revoke(self, request: HttpRequest, keys: QuerySet[ApiKey]) -> Any:
        return self.confirmed(request, keys, REVOKE, self._revoke)

    @action(description="Revoke", url_path="revoke_this", icon="block", permissions=["change"])
    def revoke_this(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self.confirmed_here(request, object_id, REVOKE, self._revoke)

    def _revoke(self, request: HttpRequest, key: ApiKey) -> None:
        operator = operator_of(request)
        if key.revoked_at is None and operator is not None:
            services.api_key_revoke(actor=operator, key_id=key.id)
        messages.success(request, f"{key} is revoked.")
