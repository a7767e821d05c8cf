"""What a message holds beside its text: images and files that a user shows, and a model's reasoning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, Self

from somaagent.texts import storable, storable_values

Detail = Literal["auto", "low", "high"]


class UnknownPart(ValueError):  # noqa: N818 - it is named for what was read
    """A kind of part that this version does not know."""


@dataclass(frozen=True, slots=True)
class Text:
    """Text between images and files."""

    type: ClassVar[str] = "text"
    text: str

    def data(self) -> dict[str, Any]:
        return {"type": self.type, "text": self.text}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        return cls(data["text"])


@dataclass(frozen=True, slots=True)
class Image:
    """An image: at a public address that the model's server fetches, or its bytes in Base64 (``content``)
    with their media type. We fetch nothing. ``detail``: how closely the model should look.
    """

    type: ClassVar[str] = "image"
    url: str | None = None
    content: str | None = None
    media_type: str | None = None
    detail: Detail | None = None

    def __post_init__(self) -> None:
        if (self.url is None) == (self.content is None) or (self.content is None) != (
            self.media_type is None
        ):
            raise ValueError("An image has a url, or its content with a media type.")

    def data(self) -> dict[str, Any]:
        """As JSON values; what is empty is left out."""
        return {"type": self.type} | _present(
            url=self.url, content=self.content, media_type=self.media_type, detail=self.detail
        )

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        return cls(data.get("url"), data.get("content"), data.get("media_type"), data.get("detail"))


@dataclass(frozen=True, slots=True)
class File:
    """A document by its name, its media type and its bytes in Base64."""

    type: ClassVar[str] = "file"
    name: str
    media_type: str
    content: str

    def data(self) -> dict[str, Any]:
        return {
            "type": self.type,
            "name": self.name,
            "media_type": self.media_type,
            "content": self.content,
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        return cls(data["name"], data["media_type"], data["content"])


Part = Text | Image | File

_PARTS: dict[str, type[Part]] = {part.type: part for part in (Text, Image, File)}


def part_of(data: Mapping[str, Any]) -> Part:
    """The part that ``part.data()`` describes. Raises ``UnknownPart`` for another kind."""
    try:
        kind = _PARTS[data["type"]]
    except KeyError:
        raise UnknownPart(f"There is no part of the kind {data.get('type')!r}.") from None
    return kind.from_data(data)


@dataclass(frozen=True, slots=True)
class Reasoning:
    """A piece of what a model thought before it spoke.

    ``protocol`` and ``model`` say whose it is: it goes back to that model alone, and no other can read it. No
    model: any that speaks the protocol, where nobody knows better.
    ``native`` is what that protocol wants back beside the text, unchanged: a signature, an encrypted block,
    the name of the field in which the text came.
    """

    text: str
    protocol: str
    model: str
    native: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def of(self, protocol: str, model: str) -> bool:
        """Whether it is this model's."""
        return self.protocol == protocol and self.model in ("", model)

    def storable(self) -> Self:
        return replace(self, text=storable(self.text), native=storable_values(self.native))

    def data(self) -> dict[str, Any]:
        return {
            "text": self.text,
            "protocol": self.protocol,
            "model": self.model,
            "native": dict(self.native),
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        return cls(data["text"], data["protocol"], data["model"], data["native"])


def _present(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
