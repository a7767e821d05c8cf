"""From a stored model profile to a model that can be asked."""

from __future__ import annotations

import asyncio
import weakref
from typing import TYPE_CHECKING

import aiohttp
from django.conf import settings

from somaagent.agent.models.openai_compatible import OpenAICompatible, Timeouts
from somaagent.agent.models.session import open_session
from somaagent.agent.ports import ChatModel
from somaagent.errors import Kind, SomaError

if TYPE_CHECKING:
    from apps.sessions.selectors import Conversation

_sessions: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, aiohttp.ClientSession] = (
    weakref.WeakKeyDictionary()
)


def _session() -> aiohttp.ClientSession:
    """The running event loop's HTTP session."""
    loop = asyncio.get_running_loop()
    if loop not in _sessions:
        _sessions[loop] = open_session()
    return _sessions[loop]


async def model_for(conversation: Conversation) -> ChatModel:
    """The model of the conversation's profile. Raises ``model_secret_missing``."""
    profile = conversation.profile
    return OpenAICompatible(
        base_url=profile.base_url,
        model=profile.model,
        api_key=await _api_key(profile.secret_name) if profile.secret_name else None,
        session=_session(),
        timeouts=Timeouts(
            connect=profile.connect_seconds,
            first_token=profile.first_token_seconds,
            idle=profile.idle_seconds,
        ),
    )


def key_refused(conversation: Conversation) -> None:
    """The model's server refused the key: the next turn reads it from Vault anew."""
    settings.SECRETS.forget(conversation.profile.secret_name)


async def _api_key(secret_name: str) -> str:
    try:
        key: str = await asyncio.to_thread(settings.SECRETS.read, secret_name, "api_key")
    except settings.SECRETS.Error as error:
        raise SomaError(
            Kind.UPSTREAM,
            "model_secret_missing",
            "The model's key cannot be read from Vault. "
            f"An operator sets it with: manage.py secret set {secret_name}",
        ) from error
    return key
