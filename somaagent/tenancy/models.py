"""Who asks: tenants, users, memberships, invitations and API keys."""

from __future__ import annotations

from typing import ClassVar

from django.contrib.auth.models import AbstractUser
from django.contrib.postgres.fields import ArrayField
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models.functions import Lower

from .fields import IdempotentCreate, Identified, TenantOwned, uuid7

MOST_REQUESTS = 1_000_000


class Role(models.TextChoices):
    OWNER = "owner"
    ADMIN = "admin"
    MEMBER = "member"
    VIEWER = "viewer"


class Scope(models.TextChoices):
    """What an API key may do: read what its user sees, write (which spends) as well, or operate the platform.

    The last one is for keys of operators alone, and only where it is asked for.
    """

    READ = "read"
    WRITE = "write"
    OPERATE = "operate"


def default_scopes() -> list[str]:
    return [Scope.READ.value, Scope.WRITE.value]


def _rate(help_text: str) -> models.PositiveIntegerField[int | None, int | None]:
    return models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(MOST_REQUESTS)],
        help_text=help_text,
    )


def _rated(name: str) -> models.CheckConstraint:
    """None passes: a check refuses only what is false."""
    condition = models.Q(requests_per_minute__gte=1, requests_per_minute__lte=MOST_REQUESTS)
    return models.CheckConstraint(condition=condition, name=name)


class Tenant(Identified, IdempotentCreate):
    """An organisation. Where there may be one alone, the setting ``MANY_TENANTS`` says so.

    ``made_by``: the operator who made it over the API; their name may be gone.
    """

    slug = models.SlugField(max_length=63, unique=True)
    name = models.CharField(max_length=200)
    suspended_at = models.DateTimeField(null=True, blank=True)
    requests_per_minute = _rate("Of all its users and keys together. Empty: as many as they like.")
    made_by = models.UUIDField(null=True, editable=False)

    class Meta:
        ordering: ClassVar = ["name"]
        constraints: ClassVar = [
            _rated("tenant_requests_in_range"),
            models.UniqueConstraint(fields=["made_by", "idempotency_key"], name="tenant_made_once"),
        ]

    def __str__(self) -> str:
        return self.name


class User(AbstractUser):
    """A person. Belongs to tenants by memberships; ``is_staff`` opens the operators' admin."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    password_is_one_time = models.BooleanField(
        default=False,
        help_text="The password was handed out by the system: it is changed at the next sign-in.",
    )

    class Meta(AbstractUser.Meta):
        constraints: ClassVar = [models.UniqueConstraint(Lower("username"), name="user_username_any_case")]


class Membership(TenantOwned):
    """A user's place in a tenant."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=16, choices=Role.choices, default=Role.MEMBER)

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["tenant", "user"], name="membership_once")]

    def __str__(self) -> str:
        return f"{self.user} ({self.role})"


class ApiKey(TenantOwned, IdempotentCreate):
    """A bearer credential. Only its SHA-256 is kept: 256 random bits need no slow hash."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="api_keys")
    name = models.CharField(max_length=200)
    prefix = models.CharField(
        max_length=16, editable=False, help_text="The first characters, to tell keys apart."
    )
    digest = models.BinaryField(max_length=32, unique=True, editable=False)
    scopes = ArrayField(models.CharField(max_length=32, choices=Scope.choices), default=default_scopes)
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    revoked_at = models.DateTimeField(null=True, blank=True)
    requests_per_minute = _rate("Empty: as many as its tenant may.")

    class Meta:
        verbose_name = "API key"
        indexes: ClassVar = [models.Index(fields=["tenant", "user", "-id"], name="api_key_of_user")]
        constraints: ClassVar = [
            _rated("api_key_requests_in_range"),
            models.UniqueConstraint(
                fields=["tenant", "user", "idempotency_key"], name="api_key_created_once"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"


class Invitation(TenantOwned, IdempotentCreate):
    """A membership for whoever shows its token, once. Of the token only its SHA-256 is kept.

    ``name`` says whom it is for, in the inviter's words.
    """

    name = models.CharField(max_length=200, blank=True)
    role = models.CharField(max_length=16, choices=Role.choices, default=Role.MEMBER)
    digest = models.BinaryField(max_length=32, unique=True, editable=False)
    invited_by = models.ForeignKey(
        User, on_delete=models.SET_NULL, null=True, editable=False, related_name="+"
    )
    expires_at = models.DateTimeField()
    accepted_at = models.DateTimeField(null=True, blank=True, editable=False)
    accepted_by = models.ForeignKey(
        User, on_delete=models.SET_NULL, null=True, blank=True, editable=False, related_name="+"
    )
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        indexes: ClassVar = [models.Index(fields=["tenant", "-id"], name="invitation_newest")]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["tenant", "invited_by", "idempotency_key"], name="invitation_made_once"
            )
        ]

    def __str__(self) -> str:
        return f"Invitation of {self.name or 'somebody'} ({self.role})"
