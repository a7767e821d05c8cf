"""The roles and the database that SomaAgent needs in a PostgreSQL cluster; any function may run again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

Connection = psycopg.Connection[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Roles:
    """``runtime``: the group that migrations grant to. ``owner`` owns all tables; ``app`` only uses them."""

    owner: str
    app: str
    runtime: str = "somaagent_runtime"


def ensure_roles(connection: Connection, roles: Roles, password: Callable[[str], str]) -> None:
    """Make the roles and set their passwords. None of them may pass row security by."""
    _create_role(connection, roles.runtime)
    connection.execute(_statement("ALTER ROLE {} NOLOGIN NOSUPERUSER NOBYPASSRLS", roles.runtime))
    for role in (roles.owner, roles.app):
        _create_role(connection, role)
        # Hashed here: the password itself goes neither over the wire nor into a log.
        verifier = connection.pgconn.encrypt_password(
            password(role).encode(), role.encode(), b"scram-sha-256"
        )
        connection.execute(
            sql.SQL(
                "ALTER ROLE {} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS"
                " PASSWORD {}"
            ).format(sql.Identifier(role), sql.Literal(verifier.decode()))
        )
    connection.execute(_statement("GRANT {} TO {}", roles.runtime, roles.app))


def ensure_database(connection: Connection, database: str, roles: Roles) -> None:
    """Make the database if it is not there, and let nobody but our roles into it."""
    if connection.execute("SELECT FROM pg_database WHERE datname = %s", [database]).fetchone() is None:
        connection.execute(
            _statement("CREATE DATABASE {} OWNER {} TEMPLATE template0", database, roles.owner)
        )
    connection.execute(_statement("ALTER DATABASE {} OWNER TO {}", database, roles.owner))
    connection.execute(_statement("REVOKE ALL ON DATABASE {} FROM PUBLIC", database))
    connection.execute(_statement("GRANT CONNECT ON DATABASE {} TO {}", database, roles.runtime))


def ensure_schema(connection: Connection, roles: Roles) -> None:
    """In the database itself: the vector extension, and a schema in which the owner alone makes things."""
    connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    connection.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    connection.execute(_statement("GRANT CREATE, USAGE ON SCHEMA public TO {}", roles.owner))
    connection.execute(_statement("GRANT USAGE ON SCHEMA public TO {}", roles.runtime))


def _create_role(connection: Connection, role: str) -> None:
    if connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [role]).fetchone() is None:
        connection.execute(_statement("CREATE ROLE {}", role))


def _statement(template: str, *names: str) -> sql.Composed:
    return sql.SQL(template).format(*map(sql.Identifier, names))
