"""The way to an identity provider and back."""

from __future__ import annotations

from contextlib import ExitStack
from typing import cast

import requests
import structlog
from allauth.account.utils import get_next_redirect_url
from allauth.core import ratelimit
from allauth.socialaccount.adapter import get_adapter
from allauth.socialaccount.models import SocialApp
from allauth.socialaccount.providers.base.constants import AuthProcess
from allauth.socialaccount.providers.oauth2.client import OAuth2Error
from allauth.socialaccount.providers.oauth2.views import OAuth2CallbackView
from django.conf import settings
from django.db import IntegrityError, transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from somaagent import valkey
from somaagent.errors import Kind, SomaError
from somaagent.web import fallback

from . import oidc

logger = structlog.get_logger(__name__)


@never_cache
@require_POST
def begin(request: HttpRequest, provider_id: str) -> HttpResponseBase:
    """A page that goes on to the provider by itself.

    It is no redirect: ``form-action 'self'`` of our policy holds for those too, and a provider may send
    people on to hosts that nobody declared (CSP 3, 6.3.1).
    """
    try:
        too_many = ratelimit.consume_or_429(request, action="login")
        if too_many is not None:
            return cast("HttpResponse", too_many)
        provider = get_adapter().get_provider(request, provider=provider_id)
        then = get_next_redirect_url(request)
        response = provider.redirect(request, process=AuthProcess.LOGIN, next_url=then)
    except SocialApp.DoesNotExist as error:
        raise Http404 from error
    except (requests.RequestException, OAuth2Error, KeyError, ValueError) as error:
        return _failed(request, provider_id, error)
    except valkey.ERRORS as error:
        return fallback.store_away_page(request, error)
    except settings.SECRETS.Error as error:
        return _secret_away(request, provider_id, error)
    if "Location" not in response:
        return cast("HttpResponse", response)  # a refusal in words
    facts = {"name": provider.name, "url": response["Location"]}
    return render(request, "account/going_on.html", facts)


@never_cache
@require_GET
def back(request: HttpRequest, provider_id: str) -> HttpResponseBase:
    """Where a provider sends people back to. It is asked outside of any transaction; what follows is one."""
    try:
        with ExitStack() as open_ones:
            protocol = oidc.Protocol(
                request, provider_id, when_asked=lambda: open_ones.enter_context(transaction.atomic())
            )
            view = OAuth2CallbackView.adapter_view(protocol)
            response: HttpResponse = view(request)
            return response
    except SocialApp.DoesNotExist as error:
        raise Http404 from error
    except IntegrityError as error:
        logger.info("sign_in.at_once", provider=provider_id, reason=str(error))
        sentence = "You signed in twice in the same moment. Try again."
        return fallback.page_of_error(request, SomaError(Kind.CONFLICT, "sign_in_at_once", sentence))
    except valkey.ERRORS as error:
        return fallback.store_away_page(request, error)
    except settings.SECRETS.Error as error:
        return _secret_away(request, provider_id, error)


def _failed(request: HttpRequest, provider_id: str, error: Exception) -> HttpResponse:
    logger.warning("sign_in.provider_failed", provider=provider_id, reason=repr(error))
    name = oidc.declared(provider_id).name
    sentence = f"{name} cannot be asked now. Try again in a moment, or sign in another way."
    return fallback.page_of_error(request, SomaError(Kind.UPSTREAM, "provider_failed", sentence))


def _secret_away(request: HttpRequest, provider_id: str, error: Exception) -> HttpResponse:
    logger.error("sign_in.client_secret_missing", provider=provider_id, reason=str(error))
    sentence = "This way to sign in is not set up: its client secret cannot be read. Tell the operator."
    return fallback.page_of_error(request, SomaError(Kind.UNAVAILABLE, "client_secret_missing", sentence))
