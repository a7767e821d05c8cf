"""Makes the roles, the database and the extension in a PostgreSQL that runs elsewhere; may run again.

Usage: python infra/database.py [--superuser NAME]   with the superuser's password on standard input

The roles get the passwords that Vault holds for them. Each is read by the login of the process that uses it,
so this needs both AppRoles, and no operator's token. After a password was changed in Vault, run it again.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from pathlib import Path

# A script finds the packages of the tree beside its own folder.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import psycopg

from settings import environment, loader
from settings.problems import ConfigurationError, describe
from somaagent.embedded.postgres_roles import Roles, ensure_database, ensure_roles, ensure_schema

SUPERUSER = "postgres"
CONNECT_SECONDS = 10


def configured(environ: Mapping[str, str]) -> loader.Configuration:
    """Every setting and secret that a process with *environ* has. Raises ``ConfigurationError``."""
    configuration = loader.load(environ)
    if configuration.problems:
        raise ConfigurationError(configuration.problems)
    return configuration


def prepare(app: loader.Configuration, owner: loader.Configuration, superuser: str, password: str) -> None:
    """Raises ``psycopg.Error`` when PostgreSQL does not let us."""
    roles = Roles(owner=owner.value("SA01_DB_USER"), app=app.value("SA01_DB_USER"))
    passwords = {each.value("SA01_DB_USER"): each.value("SA01_DB_PASSWORD") for each in (app, owner)}
    name = app.value("SA01_DB_NAME")

    def connect(database: str) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(
            host=app.value("SA01_DB_HOST"),
            port=app.value("SA01_DB_PORT"),
            dbname=database,
            user=superuser,
            password=password,
            connect_timeout=CONNECT_SECONDS,
            autocommit=True,  # a database is not created inside a transaction
        )

    with connect("postgres") as connection:
        ensure_roles(connection, roles, passwords.__getitem__)
        ensure_database(connection, name, roles)
    with connect(name) as connection:
        ensure_schema(connection, roles)


def main(arguments: list[str]) -> int:
    """Exit status 0, or 1 with the reason."""
    parser = argparse.ArgumentParser(prog="infra/database.py", description="Make the roles and the database.")
    parser.add_argument("--superuser", default=SUPERUSER)
    options = parser.parse_args(arguments)
    password = sys.stdin.readline().rstrip("\n")
    if not password:
        sys.stderr.write("database: the superuser's password is expected on standard input\n")
        return 1
    try:
        app, owner = configured(os.environ), configured(environment.owner_environment(os.environ))
        prepare(app, owner, options.superuser, password)
    except ConfigurationError as error:
        sys.stderr.write(describe(error.problems) + "\n")
        return 1
    except KeyError as error:
        sys.stderr.write(f"database: {error.args[0]} is not set\n")
        return 1
    except psycopg.Error as error:
        sys.stderr.write(f"database: PostgreSQL refused: {error}\n")
        return 1
    sys.stdout.write("the roles and the database are ready\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
