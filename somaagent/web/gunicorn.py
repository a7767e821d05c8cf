"""gunicorn's configuration of the gateway: ``gunicorn -c somaagent/web/gunicorn.py
somaagent.asgi:application``.

Every name below that gunicorn knows is a setting of gunicorn.
"""

from __future__ import annotations

import gc
import os
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

import settings

os.environ.setdefault("DJANGO_SETTINGS_MODULE", settings.module_for_environment())

import django
from django.conf import settings as django_settings

from somaagent.observability import logging, metrics, tracing
from somaagent.web.accepting import Shares
from somaagent.web.server import GatewayLogger, GatewayWorker, hold_signals

_HOST = django_settings.GATEWAY_HOST
_DRAIN_SECONDS = django_settings.DRAIN_SECONDS
# Until a worker notices that it should stop (1 s), and for its last work after the drain.
_LAST_WORK_SECONDS = 5
_MEMORY = Path("/dev/shm")  # noqa: S108 - only for heartbeat files, which would block a worker on a slow disk
_BYTES_PER_CHAR = 6
_SHARES = Shares()
# Allocations until the collector looks for cycles, and how many of its looks go on to older objects. A
# request makes thousands of objects and hardly a cycle: with Python's own 700 it looked several times each.
_COLLECT = (20_000, 20, 20)

logging.configure("gateway", django_settings.LOG_LEVEL)
logging.redact_with(django_settings.SECRETS.masked)

bind = (
    f"[{_HOST}]:{django_settings.GATEWAY_PORT}" if ":" in _HOST else f"{_HOST}:{django_settings.GATEWAY_PORT}"
)
workers = django_settings.GATEWAY_WORKERS
worker_class = GatewayWorker
worker_connections = 10_000
backlog = 2048
# Each worker makes the application itself: connections, threads and Vault renewal are its own.
preload_app = False
worker_tmp_dir = str(_MEMORY) if _MEMORY.is_dir() else tempfile.gettempdir()
control_socket_disable = True
proc_name = "somaagent-gateway"

timeout = 60
keepalive = 5
# The master's patience; the workers' own, set in post_fork, is shorter, so that they come to their last work.
graceful_timeout = _DRAIN_SECONDS + _LAST_WORK_SECONDS
asgi_disconnect_grace_period = 3

limit_request_line = 8190
limit_request_fields = 100
limit_request_field_size = 16_384
websocket_max_message_size = max(65_536, django_settings.MESSAGE_MAX_CHARS * _BYTES_PER_CHAR)

logger_class = GatewayLogger
loglevel = django_settings.LOG_LEVEL.lower()
accesslog = None


def on_starting(server: Any) -> None:
    """In the master: imports what all workers import, so that they start quickly and share its memory.

    It makes no connection and starts no thread; the application itself is each worker's own.
    """
    del server
    django.setup()
    import_module(django_settings.ROOT_URLCONF)
    gc.freeze()  # else the collector touches, and so copies, every page in every worker


def pre_fork(server: Any, worker: Any) -> None:
    """In the master: the new worker's place among those that share connections."""
    del server
    worker.shares, worker.place = _SHARES, _SHARES.take()


def post_fork(server: Any, worker: Any) -> None:
    """In the new worker, before it loads the application."""
    del server
    hold_signals()
    gc.set_threshold(*_COLLECT)
    worker.cfg.set("graceful_timeout", _DRAIN_SECONDS)
    tracing.configure("gateway", django_settings.OTLP_ENDPOINT)


def post_worker_init(worker: Any) -> None:
    """In the new worker, when the application is loaded."""
    del worker
    metrics.watch_vault("gateway", django_settings.SECRETS)


def worker_exit(server: Any, worker: Any) -> None:
    """In a worker that ends: at once, when it had booted. Taking its modules apart would cost seconds, for
    nothing.
    """
    del server
    tracing.flush()
    if worker.booted and worker.pid == os.getpid():
        sys.stdout.flush()
        os._exit(0)


def child_exit(server: Any, worker: Any) -> None:
    """In the master, after a worker ended, also when it was killed."""
    del server
    _SHARES.leave(worker.place)
    metrics.mark_dead(worker.pid)
