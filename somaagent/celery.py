"""The Celery application: the worker, the scheduler, and what sends them work.

A message is a wake-up that carries ids; what is to be done, and by whom, stands in the database. So a
message that is delivered twice, late or again after a crash does no harm, and results are not kept
anywhere.
"""

from __future__ import annotations

import atexit
import os
import socket
import ssl
import threading
import time
from typing import Any
from urllib.parse import quote

import settings

os.environ.setdefault("DJANGO_SETTINGS_MODULE", settings.module_for_environment())

import redis
import structlog
from celery import Celery, signals
from celery.beat import Scheduler
from django.conf import settings as django_settings

from somaagent import loops
from somaagent.background import run_coroutine
from somaagent.observability import logging, metrics, routine, tracing
from somaagent.quitting import limit_quitting

HEARTBEAT_SECONDS = 5.0
HEARTBEAT_EXPIRY_SECONDS = 30
_FORGET_SECONDS = 3600.0
_PUBLISH_SECONDS = 1.0

logger = structlog.get_logger(__name__)


def broker_url(valkey: dict[str, Any]) -> str:
    """The address with the password in it: for Celery's configuration alone."""
    scheme = "rediss" if valkey["tls"] else "redis"
    host = f"[{valkey['host']}]" if ":" in valkey["host"] else valkey["host"]
    return f"{scheme}://:{quote(valkey['password'], safe='')}@{host}:{valkey['port']}/0"


def _configuration() -> dict[str, Any]:
    longest, sweep = django_settings.TURN_TIMEOUT_SECONDS, float(django_settings.SWEEP_SECONDS)
    return {
        "broker_url": broker_url(django_settings.VALKEY),
        "broker_use_ssl": {"ssl_cert_reqs": ssl.CERT_REQUIRED} if django_settings.VALKEY["tls"] else None,
        "broker_connection_retry_on_startup": True,
        "broker_transport_options": {
            # Longer than any task, so that nobody gets a message whose task still runs; a worker that died
            # is made good for by the sweep, long before this.
            "visibility_timeout": longest + 120,
            "unacked_restore_interval": 2,
            "unacked_restore_throttle": 1,
            "socket_connect_timeout": 5,
            "socket_keepalive": True,
            "health_check_interval": 25,
        },
        "task_default_queue": "somaagent",
        "task_serializer": "json",
        "accept_content": ["json"],
        "task_ignore_result": True,
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "task_soft_time_limit": longest + 30,
        "task_time_limit": longest + 60,
        "task_send_sent_event": False,
        "worker_concurrency": django_settings.WORKER_CONCURRENCY,
        "worker_prefetch_multiplier": 1,
        # Rarely: a new process costs a second and leaves its metrics behind in files of its own.
        "worker_max_tasks_per_child": 10_000,
        "worker_max_memory_per_child": 512_000,
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "worker_send_task_events": False,
        "timezone": "UTC",
        "beat_scheduler": "somaagent.celery:HeartbeatScheduler",
        "beat_schedule": {
            "turns-sweep": {
                "task": "chat.turns_sweep",
                "schedule": sweep,
                "options": {"expires": sweep * 3},
            },
            "webhooks-sweep": {
                "task": "chat.webhooks_sweep",
                "schedule": sweep,
                "options": {"expires": sweep * 3},
            },
            "webhook-deliveries-forget": {
                "task": "chat.webhook_deliveries_forget",
                "schedule": _FORGET_SECONDS,
                "options": {"expires": _FORGET_SECONDS},
            },
            "outbox-publish": {
                "task": "tenancy.outbox_publish",
                "schedule": _PUBLISH_SECONDS,
                "options": {"expires": _PUBLISH_SECONDS * 3},
            },
            "outbox-forget": {
                "task": "tenancy.outbox_forget",
                "schedule": _FORGET_SECONDS,
                "options": {"expires": _FORGET_SECONDS},
            },
            "schedules-sweep": {
                "task": "chat.schedules_sweep",
                "schedule": sweep,
                "options": {"expires": sweep * 3},
            },
        },
    }


class Heartbeat:
    """A key in Valkey that says that a process is alive, and is gone soon after the process is."""

    def __init__(self, service: str) -> None:
        self._pid = os.getpid()
        self._key = f"soma:heartbeat:{service}:{socket.gethostname()}:{self._pid}"
        self._due = 0.0
        self._reached = True
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        valkey = django_settings.VALKEY
        self._client = redis.Redis(
            host=valkey["host"],
            port=valkey["port"],
            password=valkey["password"],
            ssl=valkey["tls"],
            socket_timeout=2,
            socket_connect_timeout=2,
        )

    def beat(self) -> None:
        """Writes the key, at most every ``HEARTBEAT_SECONDS``. A Valkey that is away is told of once."""
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + HEARTBEAT_SECONDS
        try:
            self._client.set(self._key, f"{time.time():.3f}", ex=HEARTBEAT_EXPIRY_SECONDS)
        except redis.RedisError as error:
            if self._reached:
                logger.warning("heartbeat.not_written", reason=str(error))
            self._reached = False
        else:
            self._reached = True

    def start(self) -> None:
        """Beats in a thread until this process ends: Celery itself tells of its gentle ends only."""
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._thread.start()
        atexit.register(self.stop)

    def stop(self) -> None:
        """Takes the key away, so that the end is seen at once; if that fails, it runs out."""
        if os.getpid() != self._pid:
            return
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
        try:
            self._client.delete(self._key)
        except redis.RedisError as error:
            logger.info("heartbeat.not_removed", reason=str(error))

    def _run(self) -> None:
        while not self._stopping.is_set():
            self.beat()
            self._stopping.wait(HEARTBEAT_SECONDS)


class HeartbeatScheduler(Scheduler):
    """Keeps its schedule in memory: all of it is in the configuration, and a sweep more or less after a
    restart does no harm. Each tick shows that the scheduler is alive.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.max_interval = int(HEARTBEAT_SECONDS)
        self._heartbeat = Heartbeat("scheduler")

    def tick(self, *args: Any, **kwargs: Any) -> float:
        self._heartbeat.beat()
        return float(super().tick(*args, **kwargs))

    def close(self) -> None:
        self._heartbeat.stop()
        super().close()


app = Celery("somaagent")
app.conf.update(_configuration())
app.autodiscover_tasks()
app.autodiscover_tasks(["apps.chat.webhooks", "somaagent.tenancy.outbox"])


@signals.setup_logging.connect
def _set_up_logging(**_: Any) -> None:
    """Connected, so that Celery leaves logging alone; the entry points below name their services."""


def _quieten() -> None:
    scheduled = [entry["task"] for entry in app.conf.beat_schedule.values()]
    routine.quieten(scheduled, django_settings.LOG_LEVEL)


@signals.celeryd_init.connect
def _worker_begins(**_: Any) -> None:
    logging.configure("worker", django_settings.LOG_LEVEL)
    _quieten()
    logging.redact_with(django_settings.SECRETS.masked)


@signals.beat_init.connect
def _scheduler_begins(**_: Any) -> None:
    logging.configure("scheduler", django_settings.LOG_LEVEL)
    _quieten()
    logging.redact_with(django_settings.SECRETS.masked)
    tracing.configure("scheduler", django_settings.OTLP_ENDPOINT)
    metrics.watch_vault("scheduler", django_settings.SECRETS)


@signals.worker_ready.connect
def _worker_is_ready(**_: Any) -> None:
    heartbeat = Heartbeat("worker")
    heartbeat.start()
    limit_quitting(heartbeat.stop)
    logger.info("worker.ready", concurrency=django_settings.WORKER_CONCURRENCY)


@signals.worker_process_init.connect
def _child_begins(**_: Any) -> None:
    tracing.configure("worker", django_settings.OTLP_ENDPOINT)
    metrics.watch_vault("worker", django_settings.SECRETS)


@signals.worker_process_shutdown.connect
def _child_ends(pid: int | None = None, **_: Any) -> None:
    # Loads the apps, which are there only now.
    from apps.chat import host  # noqa: PLC0415 see above
    from apps.tools.mcp import sessions  # noqa: PLC0415 see above

    run_coroutine(host.drain(0))
    run_coroutine(sessions.close())
    run_coroutine(loops.close())
    tracing.flush()
    metrics.mark_dead(pid or os.getpid())


@signals.task_prerun.connect
def _task_begins(task_id: str | None = None, task: Any = None, **_: Any) -> None:
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(task_id=task_id, task=getattr(task, "name", None))
