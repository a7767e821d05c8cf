"""What may stand in a response's input: a text, or messages, calls of functions and their outputs."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag

from apps.chat.openai_schemas import ToolName
from somaagent.web.text import Text

MOST_ITEMS = 1_000
TEXTS = frozenset({"input_text", "output_text", "text"})


def _text_of(content: Any) -> Any:
    """Content as one text: a string, or a list of parts that are all text."""
    if not isinstance(content, list):
        return content
    if not all(isinstance(part, dict) and part.get("type") in TEXTS for part in content):
        raise ValueError("only parts of the types input_text and output_text are understood here")
    texts = [part.get("text") for part in content]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("each part needs its text")
    return "".join(texts)


Content = Annotated[Text, BeforeValidator(_text_of)]


class _Lenient(BaseModel):
    """Items of an answer come back as input, with fields that belong to answers: ids, states, annotations."""

    model_config = ConfigDict(extra="ignore")


class MessageItem(_Lenient):
    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: Content

    def shown(self) -> dict[str, Any]:
        part: dict[str, Any] = {"type": "input_text", "text": self.content}
        if self.role == "assistant":
            part = {"type": "output_text", "text": self.content, "annotations": []}
        return {"type": "message", "role": self.role, "content": [part], "status": "completed"}


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
