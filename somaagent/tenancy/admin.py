"""The operators' forms and lists of tenants, users, memberships, invitations and API keys."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from unfold.admin import ModelAdmin, TabularInline
from unfold.decorators import action, display
from unfold.forms import UserChangeForm, UserCreationForm

from . import services
from .actor import Actor
from .admin_forms import ApiKeyForm, HandedOutPasswordForm, TenantForm, TenantOwnedForm
from .audit.audited import AuditedAdmin
from .models import ApiKey, Invitation, Membership, Tenant, User

# Roles are memberships; Django's groups would be a second way to say the same.
admin.site.unregister(Group)


def operator_of(request: HttpRequest) -> Actor | None:
    """The operator's membership; None for one who has none."""
    return getattr(request, "actor", None)


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
class TenantAdmin(AuditedAdmin, ModelAdmin):  # type: ignore[misc]  # Unfold has no types
    form = TenantForm
    list_display = ("name", "slug", "is_live", "created_at")
    search_fields = ("name", "slug")
    list_filter = (("suspended_at", admin.EmptyFieldListFilter),)
    readonly_fields = ("id", "created_at")
    prepopulated_fields = {"slug": ("name",)}

    @display(description="Live", boolean=True)
    def is_live(self, tenant: Tenant) -> bool:
        return tenant.suspended_at is None

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Suspend it instead: a click must not delete all that an organisation has."""
        return False


class MembershipInline(TabularInline):  # type: ignore[misc]  # Unfold has no types
    model = Membership
    form = TenantOwnedForm
    fields = ("role",)
    extra = 0
    max_num = 1
    verbose_name = "membership in your tenant"

    def get_formset(self, request: HttpRequest, obj: Any = None, **kwargs: Any) -> Any:
        formset = super().get_formset(request, obj, **kwargs)
        formset.form = _of_tenant(formset.form, request)
        return formset


@admin.register(User)
class UserAdmin(AuditedAdmin, DjangoUserAdmin, ModelAdmin):  # type: ignore[type-arg,misc]  # Unfold has no types
    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = HandedOutPasswordForm
    list_display = (
        "username", "email", "role", "is_staff", "is_active", "password_is_one_time", "last_login",
    )  # fmt: skip
    list_filter = ("is_staff", "is_active", "password_is_one_time")
    search_fields = ("username", "email", "first_name", "last_name")
    readonly_fields = ("last_login", "date_joined", "password_is_one_time")
    filter_horizontal = ()
    inlines = (MembershipInline,)
    fieldsets = (
        (None, {"fields": ("username", "password", "password_is_one_time")}),
        ("Person", {"fields": ("first_name", "last_name", "email")}),
        ("What they may do", {"fields": ("is_active", "is_staff", "is_superuser")}),
        ("Dates", {"fields": ("last_login", "date_joined")}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        return super().get_queryset(request).prefetch_related("memberships")

    @display(description="Role")
    def role(self, user: User) -> str:
        return ", ".join(membership.role for membership in user.memberships.all()) or "–"

    def get_inlines(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.inlines if operator_of(request) else ()

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        if not change:
            obj.password_is_one_time = True
        super().save_model(request, obj, form, change)


@admin.register(Membership)
class MembershipAdmin(TenantOwnedAdmin):
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
class ApiKeyAdmin(TenantOwnedAdmin):
    """A key's text is shown once, when it is made; of its digest nothing is shown ever."""

    form = ApiKeyForm
    audits_additions = False
    list_display = ("name", "prefix", "user", "scopes", "state", "last_used_at", "expires_at")
    list_filter = (("revoked_at", admin.EmptyFieldListFilter),)
    list_select_related = ("user",)
    search_fields = ("name", "prefix", "user__username")
    autocomplete_fields = ("user",)
    actions = ("revoke",)

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

    @action(description="Revoke the chosen keys")
    def revoke(self, request: HttpRequest, keys: QuerySet[ApiKey]) -> None:
        operator = operator_of(request)
        live = list(keys.filter(revoked_at=None).values_list("id", flat=True))
        for key_id in live if operator else ():
            services.api_key_revoke(actor=operator, key_id=key_id)  # type: ignore[arg-type]  # not None: see above
        messages.success(request, f"Revoked: {len(live)}.")
