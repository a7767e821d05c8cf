"""The configuration files of the embedded PostgreSQL, for a small machine that does other work too."""

from __future__ import annotations

from somaagent.embedded.addresses import loopback

_ALWAYS: dict[str, str] = {
    "unix_socket_directories": ".",  # the data directory
    "unix_socket_permissions": "0700",
    "max_connections": "120",
    "shared_buffers": "96MB",
    "effective_cache_size": "768MB",
    "work_mem": "8MB",
    "maintenance_work_mem": "96MB",
    "max_wal_size": "512MB",
    "min_wal_size": "80MB",
    "checkpoint_completion_target": "0.9",
    "random_page_cost": "1.1",
    "jit": "off",  # compiling costs more than our short queries
    "io_method": "sync",  # three processes fewer than the default
    "max_parallel_workers_per_gather": "0",
    "max_worker_processes": "4",
    "max_logical_replication_workers": "0",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "password_encryption": "scram-sha-256",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_destination": "stderr",
    "logging_collector": "off",
    "log_line_prefix": "%m [%p] %q%u@%d ",
    "log_checkpoints": "off",
    # Parameters are what people wrote: none of them belongs into a log.
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
    "idle_in_transaction_session_timeout": "5min",
    "datestyle": "iso, mdy",
    "default_text_search_config": "pg_catalog.simple",
}
_THROWN_AWAY = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


def configuration(port: int, *, durable: bool) -> str:
    """``postgresql.conf``."""
    settings = _ALWAYS | {"listen_addresses": loopback(), "port": str(port)}
    if not durable:
        settings |= _THROWN_AWAY
    return "".join(f"{name} = '{value}'\n" for name, value in settings.items())


def access(superuser: str) -> str:
    """``pg_hba.conf``: the superuser over the socket in the private directory, everybody else by password."""
    return (
        f"local all {superuser} trust\n"
        f"host all {superuser} all reject\n"
        f"host all all {loopback()}/32 scram-sha-256\n"
    )
