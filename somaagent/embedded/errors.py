"""What can be wrong with an embedded server, in sentences that say what to do."""

from __future__ import annotations


class NotReady(Exception):  # noqa: N818 - an answer to a question, asked again and again, more than an error
    """A server does not answer yet, or not any more; the text is the reason."""


class EmbeddedError(Exception):
    """A server cannot be set up or used as things stand; trying again changes nothing."""


class AlreadyRunning(EmbeddedError):  # noqa: N818 - it says what is the case
    """Another process works on the same data directory."""


class NewerSchema(EmbeddedError):  # noqa: N818 - it says what is the case
    """The data directory was written by a later version of SomaAgent."""
