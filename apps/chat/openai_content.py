"""What a message's ``content`` may be at ``/v1/chat/completions``: text, or parts, images and files among
them.

Images come by a public https address, which the model's server fetches and we never do, or as data URLs.
"""

from __future__ import annotations

import binascii
import mimetypes
import re
from typing import Annotated, Any, Literal

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from somaagent.agent.content import Detail, File, Image, Part, Reasoning
from somaagent.agent.content import Text as TextOf
from somaagent.agent.models.chat_completions import PROTOCOL, REASONING_FIELDS
from somaagent.web.text import Text

DATA_URL = re.compile(r"data:([\w.+-]+/[\w.+-]+);base64,(.*)", re.DOTALL)
LONGEST_URL = 8_000
IMAGE = "image/"


def _writable(value: dict[str, Any]) -> dict[str, Any]:
    try:
        orjson.dumps(value)
    except orjson.JSONEncodeError as error:
        raise ValueError("is nested too deeply") from error
    return value


Json = Annotated[dict[str, Any], AfterValidator(_writable)]


class _Lenient(BaseModel):
    model_config = ConfigDict(extra="ignore")


class TextPart(_Lenient):
    type: Literal["text"]
    text: Text

    def told(self) -> Part:
        return TextOf(self.text)


class ImageUrl(_Lenient):
    url: Text
    detail: Detail | None = None


class ImagePart(_Lenient):
    type: Literal["image_url"]
    image_url: ImageUrl

    def told(self) -> Part:
        url, detail = self.image_url.url, self.image_url.detail
        if url.startswith("https://") and len(url) <= LONGEST_URL:
            return Image(url=url, detail=detail)
        media_type, content = _data_of(url, "an image is an https address or a data URL in Base64")
        if not media_type.startswith(IMAGE):
            raise ValueError(f"an image is of a type image/…, and this is {media_type}")
        return Image(content=content, media_type=media_type, detail=detail)


class FileData(_Lenient):
    file_data: Text | None = None
    file_id: Text | None = None
    filename: Text | None = None


class FilePart(_Lenient):
    type: Literal["file"]
    file: FileData

    def told(self) -> Part:
        if self.file.file_data is None:
            raise ValueError("a file comes as file_data: nothing is kept here that a file_id could name")
        media_type, content = _data_of(self.file.file_data, "file_data is a data URL in Base64")
        name = self.file.filename or f"file{mimetypes.guess_extension(media_type) or ''}"
        return File(name, media_type, content)


PARTS: dict[str, type[TextPart | ImagePart | FilePart]] = {
    "text": TextPart,
    "image_url": ImagePart,
    "file": FilePart,
}


def content_of(content: Any) -> Any:
    """Content as it is where it is no list, else its parts."""
    if not isinstance(content, list):
        return content
    return [_part(number, part) for number, part in enumerate(content)]


def _part(number: int, part: Any) -> Part:
    kind = part.get("type") if isinstance(part, dict) else None
    model = PARTS.get(kind) if isinstance(kind, str) else None
    if model is None:
        raise ValueError(f"part {number}: only the types text, image_url and file are understood here")
    try:
        return model.model_validate(part).told()
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(step) for step in first["loc"])
        raise ValueError(f"part {number}: {place}: {first['msg']}") from error
    except ValueError as error:
        raise ValueError(f"part {number}: {error}") from error


def _data_of(url: str, wanted: str) -> tuple[str, str]:
    """The media type and the Base64 of a data URL (RFC 2397)."""
    found = DATA_URL.fullmatch(url)
    if found is None:
        raise ValueError(wanted)
    try:
        binascii.a2b_base64(found[2], strict_mode=True)
    except binascii.Error as error:
        raise ValueError(wanted) from error
    return found[1].lower(), found[2]


class Thought(_Lenient):
    """A piece of reasoning, as ``reasoning_state`` gave it out."""

    text: Text
    protocol: Text
    model: Text
    native: Json


def reasoning_of(text: str | None, state: list[Thought] | None) -> tuple[Reasoning, ...]:
    """What an earlier answer was thought with. The text alone is enough for servers that sign nothing."""
    if state:
        return tuple(Reasoning(piece.text, piece.protocol, piece.model, piece.native) for piece in state)
    return (Reasoning(text, PROTOCOL, "", {"field": REASONING_FIELDS[0]}),) if text else ()
