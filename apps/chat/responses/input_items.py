"""What may stand in a response's input: a text, or messages, calls of functions and their outputs."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, model_validator

from apps.chat.openai_content import content_of
from apps.chat.openai_schemas import ToolName
from somaagent.agent.content import File, Part
from somaagent.agent.content import Text as TextOf
from somaagent.web.text import Text

MOST_ITEMS = 1_000
TEXTS = frozenset({"input_text", "output_text", "text"})


def _parts_of(content: Any) -> Any:
    """Content as it is where it is no list, else its parts."""
    return content_of([_as_chat(part) for part in content]) if isinstance(content, list) else content


def _as_chat(part: Any) -> dict[str, Any]:
    """A part as chat completions know it."""
    kind = part.get("type") if isinstance(part, dict) else None
    if kind in TEXTS:
        return {"type": "text", "text": part.get("text")}
    if kind == "input_image":
        return {
            "type": "image_url",
            "image_url": {"url": part.get("image_url"), "detail": part.get("detail")},
        }
    if kind == "input_file":
        file = {name: part.get(name) for name in ("file_data", "file_id", "filename")}
        return {"type": "file", "file": file}
    raise ValueError(
        "only parts of the types input_text, output_text, input_image and input_file are understood"
    )


def _text_of(content: Any) -> Any:
    """Content as one text: a string, or a list of parts that are all text."""
    parts = _parts_of(content)
    return _text_of_parts(parts) if isinstance(parts, list) else parts


def _text_of_parts(parts: list[Part]) -> str:
    texts = [part.text for part in parts if isinstance(part, TextOf)]
    if len(texts) < len(parts):
        raise ValueError("only messages of the role user have images and files")
    return "".join(texts)


def _shown(part: Part) -> dict[str, Any]:
    if isinstance(part, TextOf):
        return {"type": "input_text", "text": part.text}
    if isinstance(part, File):
        data = f"data:{part.media_type};base64,{part.content}"
        return {"type": "input_file", "filename": part.name, "file_data": data}
    url = part.url or f"data:{part.media_type};base64,{part.content}"
    shown = {"type": "input_image", "image_url": url}
    return shown | {"detail": part.detail} if part.detail else shown


Parts = Annotated[Text | list[Part], BeforeValidator(_parts_of)]
Content = Annotated[Text, BeforeValidator(_text_of)]


class _Lenient(BaseModel):
    """Items of an answer come back as input, with fields that belong to answers: ids, states, annotations."""

    model_config = ConfigDict(extra="ignore")


class MessageItem(_Lenient):
    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: Parts

    @model_validator(mode="after")
    def _fits_its_role(self) -> Self:
        if self.role != "user" and isinstance(self.content, list):
            self.content = _text_of_parts(self.content)
        return self

    def shown(self) -> dict[str, Any]:
        said = self.content
        content = [_shown(part) for part in said] if isinstance(said, list) else [_shown(TextOf(said))]
        if self.role == "assistant":
            content = [{"type": "output_text", "text": said, "annotations": []}]
        return {"type": "message", "role": self.role, "content": content, "status": "completed"}


class CallItem(_Lenient):
    type: Literal["function_call"]
    call_id: Annotated[Text, Field(min_length=1)]
    name: ToolName
    arguments: Text

    def shown(self) -> dict[str, Any]:
        return self.model_dump() | {"status": "completed"}


class OutputItem(_Lenient):
    type: Literal["function_call_output"]
    call_id: Annotated[Text, Field(min_length=1)]
    output: Content

    def shown(self) -> dict[str, Any]:
        return self.model_dump() | {"status": "completed"}


def _kind_of(item: Any) -> str:
    if isinstance(item, dict):
        return str(item.get("type", "message"))
    return str(getattr(item, "type", "message"))


Item = Annotated[
    Annotated[MessageItem, Tag("message")]
    | Annotated[CallItem, Tag("function_call")]
    | Annotated[OutputItem, Tag("function_call_output")],
    Discriminator(
        _kind_of,
        custom_error_type="item_type",
        custom_error_message="only items of the types message, function_call and function_call_output are "
        "understood here",
    ),
]


def _items_of(said: Any) -> Any:
    return [{"role": "user", "content": said}] if isinstance(said, str) else said


Input = Annotated[list[Item], BeforeValidator(_items_of), Field(min_length=1, max_length=MOST_ITEMS)]
