"""Row-level security: what a migration says to keep a table's tenants apart.

The application connects as a member of ``somaagent_runtime``, which owns no table and so is bound
by the policies; migrations run as the owner, which is not. The tenant is a transaction-local
setting (``scope``); unset, it compares with NULL and no row is seen or written.
PostgreSQL 18, "Row Security Policies".
"""

from __future__ import annotations

from django.db.migrations.operations import RunSQL

RUNTIME_ROLE = "somaagent_runtime"
TENANT_SETTING = "soma.tenant_id"
CURRENT_TENANT = f"NULLIF(current_setting('{TENANT_SETTING}', true), '')::uuid"


def tenant_policy(table: str, column: str = "tenant_id") -> RunSQL:
    """The policy that shows a tenant its own rows of ``table`` and takes only such rows from it."""
    mine = f'"{column}" = {CURRENT_TENANT}'
    return RunSQL(
        sql=[
            f'ALTER TABLE "{table}" ENABLE ROW LEVEL SECURITY',
            f'CREATE POLICY tenant_isolation ON "{table}" USING ({mine}) WITH CHECK ({mine})',
        ],
        reverse_sql=[
            f'DROP POLICY tenant_isolation ON "{table}"',
            f'ALTER TABLE "{table}" DISABLE ROW LEVEL SECURITY',
        ],
    )


def append_only(table: str) -> RunSQL:
    """What the application has written to ``table`` it can neither change nor take away."""
    return RunSQL(
        sql=[f'REVOKE UPDATE, DELETE, TRUNCATE ON "{table}" FROM {RUNTIME_ROLE}'],
        reverse_sql=[f'GRANT UPDATE, DELETE ON "{table}" TO {RUNTIME_ROLE}'],
    )


def written_by_functions(table: str) -> RunSQL:
    """The application reads ``table``; rows come and change by ``definer_function`` alone."""
    rights = "INSERT, UPDATE, DELETE"
    return RunSQL(
        sql=[f'REVOKE {rights}, TRUNCATE ON "{table}" FROM {RUNTIME_ROLE}'],
        reverse_sql=[f'GRANT {rights} ON "{table}" TO {RUNTIME_ROLE}'],
    )


def runtime_grants() -> RunSQL:
    """Rows of every table, made and to be made by this owner, for the application's role."""
    rights = "SELECT, INSERT, UPDATE, DELETE"
    return RunSQL(
        sql=[
            f"GRANT USAGE ON SCHEMA public TO {RUNTIME_ROLE}",
            f"GRANT {rights} ON ALL TABLES IN SCHEMA public TO {RUNTIME_ROLE}",
            f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {RUNTIME_ROLE}",
            f"ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT {rights} ON TABLES TO {RUNTIME_ROLE}",
            f"ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT USAGE ON SEQUENCES TO {RUNTIME_ROLE}",
        ],
        reverse_sql=[
            f"ALTER DEFAULT PRIVILEGES IN SCHEMA public REVOKE {rights} ON TABLES FROM {RUNTIME_ROLE}",
            f"ALTER DEFAULT PRIVILEGES IN SCHEMA public REVOKE USAGE ON SEQUENCES FROM {RUNTIME_ROLE}",
            f"REVOKE {rights} ON ALL TABLES IN SCHEMA public FROM {RUNTIME_ROLE}",
            f"REVOKE USAGE ON ALL SEQUENCES IN SCHEMA public FROM {RUNTIME_ROLE}",
        ],
    )


def definer_function(signature: str, returns: str, body: str, *, language: str = "sql") -> RunSQL:
    """What must come before the tenant is known, or what the application may do in this one way.

    It runs as the owner, whom no policy binds, and only the runtime may call it.
    """
    made = _definer(signature, returns, body, language)
    return RunSQL(sql=[*made], reverse_sql=[f"DROP FUNCTION {signature}"])


def definer_function_replaced(
    signature: str, *, now: tuple[str, str], before: tuple[str, str], gains: str = "", language: str = "sql"
) -> RunSQL:
    """Another one of the same signature: what each returns, and its body.

    Older code calls it too while a new version is rolled out: it gives what the other gave, and more.
    ``gains``: one more argument, which older code leaves out; it is NULL then. ``language`` is the new one's.
    """
    wider = f"{signature.removesuffix(')')}, {gains})" if gains else signature
    return RunSQL(
        sql=[f"DROP FUNCTION {signature}", *_definer(wider, *now, language, default=gains)],
        reverse_sql=[f"DROP FUNCTION {wider}", *_definer(signature, *before)],
    )


def _definer(
    signature: str, returns: str, body: str, language: str = "sql", *, default: str = ""
) -> list[str]:
    how = f"LANGUAGE {language} SECURITY DEFINER SET search_path = public, pg_temp"
    made = signature.replace(default, f"{default} DEFAULT NULL") if default else signature
    return [
        f"CREATE FUNCTION {made} RETURNS {returns} {how} AS $${body}$$",
        f"REVOKE ALL ON FUNCTION {signature} FROM PUBLIC",
        f"GRANT EXECUTE ON FUNCTION {signature} TO {RUNTIME_ROLE}",
    ]
