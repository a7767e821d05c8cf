"""HTML on standard input, Markdown on standard output: run by itself, by ``readable``.

It limits itself before it reads, and imports nothing of the project.
"""

from __future__ import annotations

import resource
import sys

from html_to_markdown import convert

_OF_KERNEL = {
    resource.RLIMIT_CPU: 5,
    resource.RLIMIT_AS: 1024 * 1024 * 1024,
    resource.RLIMIT_NOFILE: 3,
    resource.RLIMIT_CORE: 0,
}


def main() -> None:
    for limit, most in _OF_KERNEL.items():
        resource.setrlimit(limit, (most, most))
    markdown = convert(sys.stdin.buffer.read().decode()).content or ""
    sys.stdout.buffer.write(markdown.encode())


if __name__ == "__main__":
    main()
