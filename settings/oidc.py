"""Identity providers that people sign in with (OpenID Connect): declared by the operator, here alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import jsonschema_rs

from settings.declared import declared
from settings.kinds import Kind

SECRET_KEY_NAME = "client_secret"  # noqa: S105  the name of a secret, not one


@dataclass(frozen=True, slots=True)
class OidcProvider:
    """One provider. Its client secret is ``oidc/<slug>`` in Vault.

    Everybody it knows belongs to ``tenant``, or, by the domain of their verified e-mail address, to one of
    ``domains`` (domain → slug of a tenant). ``roles``: group → role; ``role``: of those in none of the groups
    (None: they are refused). ``groups_claim`` names the claim that lists a person's groups.
    """

    slug: str
    name: str
    issuer: str
    client_id: str
    tenant: str | None = None
    domains: dict[str, str] = field(default_factory=dict)
    role: str | None = None
    roles: dict[str, str] = field(default_factory=dict)
    groups_claim: str = "groups"
    scopes: tuple[str, ...] = ("openid", "profile", "email")
    client_auth: str | None = None

    def __str__(self) -> str:
        return self.slug


_WORD = {"type": "string", "minLength": 1, "maxLength": 500, "pattern": "^[^\\x00-\\x1f]*$"}
_ROLE = {"enum": ["owner", "admin", "member", "viewer"]}
_SCHEMA = {
    "type": "object",
    "propertyNames": {"pattern": "^[a-z][a-z0-9-]{0,31}$"},
    "additionalProperties": {
        "type": "object",
        "required": ["name", "issuer", "client_id"],
        "oneOf": [{"required": ["tenant"]}, {"required": ["domains"]}],
        "anyOf": [{"required": ["role"]}, {"required": ["roles"]}],
        "additionalProperties": False,
        "properties": {
            "name": {**_WORD, "maxLength": 40},
            "issuer": {"type": "string", "pattern": "^https?://[^\\s/?#]+[^\\s?#]*$"},
            "client_id": {**_WORD, "maxLength": 191},
            "tenant": _WORD,
            "domains": {
                "type": "object",
                "minProperties": 1,
                "propertyNames": {"pattern": "^[a-z0-9.-]+$"},
                "additionalProperties": _WORD,
            },
            "role": _ROLE,
            "roles": {"type": "object", "minProperties": 1, "additionalProperties": _ROLE},
            "groups_claim": _WORD,
            "scopes": {"type": "array", "items": _WORD, "contains": {"const": "openid"}},
            "client_auth": {"enum": ["client_secret_basic", "client_secret_post"]},
        },
    },
}
# A value may be a secret that somebody put there: it is not repeated.
_VALIDATOR = jsonschema_rs.validator_for(_SCHEMA, mask="what stands there", offline=True)


def _providers(text: str) -> list[OidcProvider]:
    return [_provider(slug, each) for slug, each in declared(text, _VALIDATOR).items()]


def _provider(slug: str, facts: dict[str, Any]) -> OidcProvider:
    scopes = tuple(facts.get("scopes", OidcProvider.__dataclass_fields__["scopes"].default))
    return OidcProvider(slug=slug, **(facts | {"scopes": scopes}))


OIDC_PROVIDERS = Kind("identity providers", "a JSON object, or the path of a file that holds one", _providers)
