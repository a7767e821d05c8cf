"""Every Django setting, the same in both modes. A mode's module only overrides what is a capability.

Loading this module looks the whole configuration up; where anything is wrong the process ends with
status 1 and the list of all that is (``settings.problems.ConfigurationError``).
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from csp.constants import NONCE, NONE, SELF, UNSAFE_EVAL, UNSAFE_INLINE

from settings.loader import boot
from settings.oidc import OidcProvider
from settings.published import published
from settings.stdio import StdioServer

_configuration = boot()
_value = _configuration.value

# -- what code outside settings reads ------------------------------------------------------------------------
DEPLOYMENT_MODE: str = _configuration.mode
DATA_DIR = _value("SA01_DATA_DIR").absolute()
RUN_DIR = DATA_DIR / "run"
PUBLIC_URL: str = _value("SA01_PUBLIC_URL")
GATEWAY_HOST: str = _value("SA01_GATEWAY_HOST")
GATEWAY_PORT: int = _value("SA01_GATEWAY_PORT")
GATEWAY_WORKERS: int = _value("SA01_GATEWAY_WORKERS")
WORKER_CONCURRENCY: int = _value("SA01_WORKER_CONCURRENCY")
DRAIN_SECONDS: int = _value("SA01_DRAIN_SECONDS")
TURN_TIMEOUT_SECONDS: int = _value("SA01_TURN_TIMEOUT_SECONDS")
TURN_LEASE_SECONDS: int = _value("SA01_TURN_LEASE_SECONDS")
APPROVAL_SECONDS: int = _value("SA01_APPROVAL_SECONDS")
SWEEP_SECONDS: int = _value("SA01_SWEEP_SECONDS")
KAFKA_BOOTSTRAP: str | None = _value("SA01_KAFKA_BOOTSTRAP")
KAFKA_TOPIC: str = _value("SA01_KAFKA_TOPIC")
KAFKA_SECURITY_PROTOCOL: str = _value("SA01_KAFKA_SECURITY_PROTOCOL")
KAFKA_CA_FILE: Path | None = _value("SA01_KAFKA_CA_FILE")
KAFKA_SASL_MECHANISM: str = _value("SA01_KAFKA_SASL_MECHANISM")
KAFKA_USERNAME: str | None = _value("SA01_KAFKA_USERNAME")
KAFKA_PASSWORD: str | None = _value("SA01_KAFKA_PASSWORD")
OUTBOX_DAYS: int = _value("SA01_OUTBOX_DAYS")
MESSAGE_MAX_CHARS: int = _value("SA01_MESSAGE_MAX_CHARS")
DB_OWNER_USER: str = _value("SA01_DB_OWNER_USER")
LOG_LEVEL: str = _value("SA01_LOG_LEVEL")
OTLP_ENDPOINT: str | None = _value("SA01_OTLP_ENDPOINT")
LOCAL_MODEL_URL: str | None = _value("SA01_LOCAL_MODEL_URL")
POLICY_DIR: Path = _value("SA01_POLICY_DIR").absolute()
OPA_URL: str | None = _value("SA01_OPA_URL")
POLICY_TIMEOUT_SECONDS: int = _value("SA01_POLICY_TIMEOUT_SECONDS")
OUTBOUND_ALLOWED_NETWORKS: list[IPv4Network | IPv6Network] = _value("SA01_OUTBOUND_ALLOWED_NETWORKS") or []
MCP_STDIO_SERVERS: list[StdioServer] = _value("SA01_MCP_STDIO_SERVERS") or []
SECRETS = _configuration.reader
# Each setting as operators see it: what it is and where that came from. Of secrets only whether they are set.
PUBLISHED_SETTINGS = published(_configuration)
VALKEY: dict[str, Any] = {
    "host": _value("SA01_VALKEY_HOST"),
    "port": _value("SA01_VALKEY_PORT"),
    "password": _value("SA01_VALKEY_PASSWORD"),
    "tls": _value("SA01_VALKEY_TLS"),
    # A restart of the server takes a second or two: commands wait it out, for about eight seconds.
    "retries": 12,
}

# -- Django --------------------------------------------------------------------------------------------------
SECRET_KEY: str = _value("SA01_SECRET_KEY")
DEBUG: bool = _value("SA01_DEBUG")
DEFAULT_EXCEPTION_REPORTER = "settings.debug_page.MaskedReporter"
DEFAULT_EXCEPTION_REPORTER_FILTER = "settings.debug_page.MaskedFilter"

INSTALLED_APPS = [
    # Before Django's: its runserver is ours.
    "apps.admin",
    "unfold.apps.BasicAppConfig",
    "unfold.contrib.filters",
    "apps.admin.apps.OperatorsAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "channels",
    "ninja",
    "django_prometheus",
    "somaagent.tenancy",
    "apps.sessions",
    "apps.tools",
    "apps.chat",
    # Without its base app, whose pages ours replace.
    "allauth.account",
    "allauth.socialaccount",
    "allauth.socialaccount.providers.openid_connect",
    "allauth.mfa",
    "allauth.usersessions",
    # After it: what it shows in the admin is taken out there.
    "apps.accounts",
]
# For both lanes of the gateway; what a new one needs for the lane of coroutines: somaagent/web/chain.py.
MIDDLEWARE = [
    "somaagent.web.middleware.RequestContext",
    "django_prometheus.middleware.PrometheusBeforeMiddleware",
    "somaagent.web.middleware.Static",
    "django.middleware.security.SecurityMiddleware",
    "somaagent.web.csp.ContentSecurityPolicy",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "somaagent.web.middleware.Authentication",
    "allauth.account.middleware.AccountMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_prometheus.middleware.PrometheusAfterMiddleware",
]
# Those of them that deal with sessions, users and forms of browsers: in the lane of coroutines a request with
# a bearer key, which decides alone, does without.
BROWSER_MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
ROOT_URLCONF = "somaagent.urls"
ASGI_APPLICATION = "somaagent.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "csp.context_processors.nonce",
            ],
        },
    },
]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LANGUAGE_CODE = "en"
USE_I18N = True
USE_TZ = True
TIME_ZONE = "UTC"
# somaagent.observability.logging sets it up: only an entry point knows the service's name.
LOGGING_CONFIG = None

# -- database and cache --------------------------------------------------------------------------------------
DATABASES: dict[str, dict[str, Any]] = {
    "default": {
        "ENGINE": "somaagent.tenancy.postgresql",
        "HOST": _value("SA01_DB_HOST"),
        "PORT": _value("SA01_DB_PORT"),
        "NAME": _value("SA01_DB_NAME"),
        "USER": _value("SA01_DB_USER"),
        "PASSWORD": _value("SA01_DB_PASSWORD"),
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {"connect_timeout": 5},
    },
}
CACHES: dict[str, dict[str, Any]] = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": f"{'rediss' if VALKEY['tls'] else 'redis'}://{VALKEY['host']}:{VALKEY['port']}/0",
        "KEY_PREFIX": "soma:cache",
        "OPTIONS": {
            "password": VALKEY["password"],
            "socket_connect_timeout": 2,
            "socket_timeout": 5,
        },
    },
}

# -- who is asking -------------------------------------------------------------------------------------------
AUTH_USER_MODEL = "tenancy.User"
CSRF_FAILURE_VIEW = "somaagent.web.fallback.csrf_failed"
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
LOGIN_URL = "/sign-in/"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "/sign-in/"
# A capability: whether anybody may make themselves an account. There is no form for it, in either mode: who
# shows an invitation makes one at ``/invitations/``.
SIGNUP_OPEN = False
# A capability: whether there may be more than one tenant.
MANY_TENANTS = False
ACCOUNT_ADAPTER = "apps.accounts.adapter.AccountAdapter"
ACCOUNT_LOGIN_METHODS = {"username"}
ACCOUNT_SIGNUP_FIELDS = ["username*", "email", "password1*"]
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_SESSION_REMEMBER = True
# Counted in Valkey. ``ip`` is one address (a /64 of IPv6); ``key`` of failed ones is a name from one address
# (apps.accounts.adapter), and of the last line a name from everywhere.
ACCOUNT_RATE_LIMITS = {
    "login": "60/m/ip",
    "login_failed": "50/5m/ip,5/5m/key",
    "login_failed_name": "50/15m/key",
    "invitation_failed": "20/5m/ip",
}
OIDC_PROVIDERS: list[OidcProvider] = _value("SA01_OIDC_PROVIDERS") or []
SOCIALACCOUNT_ADAPTER = "apps.accounts.social_adapter.SocialAccountAdapter"
SOCIALACCOUNT_PROVIDERS = {"openid_connect": {"provider_class": "apps.accounts.oidc.Provider"}}
SOCIALACCOUNT_EMAIL_VERIFICATION = "none"
MFA_ADAPTER = "apps.accounts.second_factor.MFAAdapter"
MFA_REQUIRED: str = _value("SA01_MFA_REQUIRED")
MFA_SUPPORTED_TYPES = ["totp", "recovery_codes"]
MFA_TOTP_ISSUER = "SomaAgent"
ALLAUTH_TRUSTED_PROXY_COUNT: int = _value("SA01_TRUSTED_PROXIES")
AUTH_PASSWORD_VALIDATORS: list[dict[str, Any]] = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]

# -- what browsers are told ----------------------------------------------------------------------------------
ALLOWED_HOSTS: list[str] = _value("SA01_ALLOWED_HOSTS")
_public = urlsplit(PUBLIC_URL)
CSRF_TRUSTED_ORIGINS = [f"{_public.scheme}://{_public.netloc}"]
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = LANGUAGE_COOKIE_SECURE = _value("SA01_SECURE_COOKIES")
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = LANGUAGE_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_AGE = 14 * 24 * 3600
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if _value("SA01_BEHIND_TLS_PROXY") else None
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
SECURE_HSTS_SECONDS = 0
X_FRAME_OPTIONS = "DENY"
# The longest message as JSON may take six bytes a character (\uXXXX), and there is more around it.
DATA_UPLOAD_MAX_MEMORY_SIZE = max(2_621_440, MESSAGE_MAX_CHARS * 6 + 65_536)

_socket = f"{'wss' if _public.scheme == 'https' else 'ws'}://{_public.netloc}"
CONTENT_SECURITY_POLICY: dict[str, dict[str, list[object]]] = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "script-src": [SELF, NONCE],
        "style-src": [SELF, NONCE],
        "img-src": [SELF, "data:"],
        # Some browsers do not count a WebSocket of the same host as 'self'.
        "connect-src": [SELF, _socket],
        "object-src": [NONE],
        "base-uri": [SELF],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
    },
}
# The admin's pages (django-unfold) evaluate Alpine expressions and style inline. apps.admin answers them with
# these directives in place of the above (csp.decorators.csp_replace), so that the rest keeps the strict ones.
ADMIN_CONTENT_SECURITY_POLICY: dict[str, list[object]] = {
    "script-src": [SELF, NONCE, UNSAFE_EVAL],
    "style-src": [SELF, UNSAFE_INLINE],
    "img-src": [SELF, "data:"],
}

# -- static files --------------------------------------------------------------------------------------------
STATIC_URL = "/static/"
STATIC_ROOT = DATA_DIR / "static"
SERVESTATIC_USE_FINDERS = True
SERVESTATIC_AUTOREFRESH = DEBUG
