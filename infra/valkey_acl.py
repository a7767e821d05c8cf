"""Writes Valkey's access list from the password that Vault holds.

Usage: python infra/valkey_acl.py FILE

The file holds the password's SHA-256, which lets Valkey check it and tells nobody what it is (the password is
48 random bytes, which no list of guesses reaches). It runs with the application's own login to Vault.
"""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

# A script finds the packages of the tree beside its own folder.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

READABLE_BY_VALKEY = 0o644  # another user than ours, in a volume that only the two share


def access_list(password: str) -> str:
    """One user, who may do everything, known by the digest of *password*."""
    digest = hashlib.sha256(password.encode()).hexdigest()
    return f"user default reset on #{digest} ~* &* +@all\n"


def write(path: Path, text: str) -> bool:
    """Puts *text* at *path*, whole or not at all; False when it stood there already."""
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return False
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(text, encoding="utf-8")
    temporary.chmod(READABLE_BY_VALKEY)
    temporary.replace(path)
    return True


def main(arguments: list[str]) -> int:
    """Exit status 0; 2 when no file is named. Broken settings end the process with every problem."""
    if len(arguments) != 1:
        sys.stderr.write("valkey_acl: name the file to write\n")
        return 2
    from django.conf import settings as loaded  # noqa: PLC0415  as above

    import settings  # noqa: PLC0415  an entry point; the pure functions above need no settings

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", settings.module_for_environment())
    changed = write(Path(arguments[0]), access_list(loaded.VALKEY["password"]))
    sys.stdout.write("wrote Valkey's access list\n" if changed else "Valkey's access list was right\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
