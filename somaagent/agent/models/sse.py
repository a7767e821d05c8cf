"""Server-sent events, read from bytes that arrive in any pieces."""

from __future__ import annotations


class EventParser:
    """Gives the data of each event; names, ids and comments are passed over.

    ``events`` counts them. Lines may end in LF, CRLF or CR and may be split anywhere.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []
        self._started = False
        self.events = 0

    def feed(self, received: bytes) -> list[bytes]:
        """The data of the events that these bytes complete."""
        text = self._rest + received
        if not self._started:
            text = self._skip_mark(text)
        if b"\r" in text:
            text, held = (text[:-1], b"\r") if text.endswith(b"\r") else (text, b"")
            text = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        else:
            held = b""
        *lines, rest = text.split(b"\n")
        self._rest = rest + held
        return self._events(lines)

    def close(self) -> list[bytes]:
        """The data of a last event that no blank line follows; some servers leave it out."""
        events = self.feed(b"\n\n")
        self._rest, self._data = b"", []
        return events

    def _skip_mark(self, text: bytes) -> bytes:
        mark = b"\xef\xbb\xbf"
        self._started = len(text) >= len(mark)
        return text.removeprefix(mark)

    def _events(self, lines: list[bytes]) -> list[bytes]:
        """One loop: there are two lines to each token."""
        found: list[bytes] = []
        data = self._data
        for line in lines:
            if line.startswith(b"data:"):
                data.append(line[5:].removeprefix(b" "))
            elif line == b"data":
                data.append(b"")
            elif not line and data:
                found.append(b"\n".join(data))
                data.clear()
        self.events += len(found)
        return found
