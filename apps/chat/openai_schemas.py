"""The body of ``POST /v1/chat/completions``, and what it asks for in our words.

What has no effect on the answer (``user``, ``metadata`` …) is taken and passed over. What would have one and
cannot be had here is refused by name, so that nobody believes it was done.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    ValidationError,
    model_validator,
)

from somaagent.agent.content import Part
from somaagent.agent.content import Text as TextOf
from somaagent.agent.messages import ModelMessage, Role, ToolCall
from somaagent.agent.ports import ModelSettings, ToolSchema
from somaagent.web.bodies import Body
from somaagent.web.text import Text

from .completions import Asked
from .openai_content import Json, Thought, content_of, reasoning_of

NO_ARGUMENTS = {"type": "object", "properties": {}}
MOST_STOPS = 4
MOST_TOOLS = 128


def _list_of(stop: Any) -> Any:
    return [stop] if isinstance(stop, str) else stop


def _choice_of(choice: Any) -> Any:
    if choice in (None, "none", "auto", "required"):
        return choice
    try:
        return ToolChoice.model_validate(choice).model_dump()
    except ValidationError as error:
        raise ValueError("is none, auto, required, or one function of the tools") from error


Content = Annotated[Text | list[Part] | None, BeforeValidator(content_of)]
ToolName = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]


class _Lenient(BaseModel):
    """Part of a conversation: answers come back with fields that other servers added to them."""

    model_config = ConfigDict(extra="ignore")


class CalledFunction(_Lenient):
    name: ToolName
    arguments: Text


class Call(_Lenient):
    id: Text
    type: Literal["function"] = "function"
    function: CalledFunction
    extra_content: Json | None = None

    def told(self) -> ToolCall:
        return ToolCall(self.id, self.function.name, self.function.arguments, self.extra_content)


class Message(_Lenient):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Content = None
    tool_calls: list[Call] | None = None
    tool_call_id: Text | None = None
    reasoning_content: Text | None = None
    reasoning_state: list[Thought] | None = None

    @model_validator(mode="after")
    def _fits_its_role(self) -> Self:
        if self.tool_calls and self.role != "assistant":
            raise ValueError("only the role assistant has tool_calls")
        if self.content is None and not self.tool_calls:
            raise ValueError("the content is missing")
        if self.role != "user" and not isinstance(self._plain(), str):
            raise ValueError("only the role user has images and files")
        if (self.role == "tool") != (self.tool_call_id is not None):
            raise ValueError("the role tool, and no other, has a tool_call_id")
        return self

    def _plain(self) -> str | list[Part]:
        """The content as one text, where it is nothing else."""
        if not isinstance(self.content, list):
            return self.content or ""
        texts = [part.text for part in self.content if isinstance(part, TextOf)]
        return "".join(texts) if len(texts) == len(self.content) else self.content

    def told(self) -> ModelMessage:
        content = self._plain()
        if not isinstance(content, str):
            return ModelMessage.of_parts(content)
        calls = tuple(call.told() for call in self.tool_calls or ())
        role: Role = "system" if self.role == "developer" else self.role
        mine = role == "assistant"
        reasoning = reasoning_of(self.reasoning_content, self.reasoning_state) if mine else ()
        return ModelMessage(role, content, calls, self.tool_call_id, reasoning=reasoning)


class Function(Body):
    name: ToolName
    description: Text | None = None
    parameters: Json | None = None
    strict: StrictBool | None = None


class Tool(Body):
    type: Literal["function"]
    function: Function

    def told(self) -> ToolSchema:
        function = self.function
        return ToolSchema(
            function.name, function.description or "", function.parameters or NO_ARGUMENTS, function.strict
        )


class ChosenFunction(Body):
    name: ToolName


class ToolChoice(Body):
    type: Literal["function"]
    function: ChosenFunction


class StreamOptions(Body):
    include_usage: StrictBool = False
    include_obfuscation: StrictBool = False


class ResponseFormat(Body):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: Json | None = None

    @model_validator(mode="after")
    def _has_its_schema(self) -> Self:
        if (self.type == "json_schema") != (self.json_schema is not None):
            raise ValueError("the type json_schema, and no other, has a json_schema")
        return self


class CompletionIn(Body):
    model: Annotated[str, Field(description="The slug of an agent.")]
    messages: Annotated[list[Message], Field(min_length=1)]
    stream: StrictBool | None = None
    stream_options: StreamOptions | None = None
    temperature: Annotated[float | None, Field(ge=0, le=2)] = None
    top_p: Annotated[float | None, Field(gt=0, le=1)] = None
    max_tokens: Annotated[int | None, Field(ge=1)] = None
    max_completion_tokens: Annotated[int | None, Field(ge=1)] = None
    stop: Annotated[list[Text] | None, BeforeValidator(_list_of), Field(max_length=MOST_STOPS)] = None
    seed: Annotated[int | None, Field(ge=-(2**63), lt=2**63)] = None
    presence_penalty: Annotated[float | None, Field(ge=-2, le=2)] = None
    frequency_penalty: Annotated[float | None, Field(ge=-2, le=2)] = None
    response_format: ResponseFormat | None = None
    tools: Annotated[list[Tool] | None, Field(max_length=MOST_TOOLS)] = None
    tool_choice: Annotated[Any, AfterValidator(_choice_of)] = None
    parallel_tool_calls: StrictBool | None = None
    reasoning_effort: Annotated[str | None, Field(pattern=r"^[a-z]{1,16}$")] = None
    n: Literal[1] | None = None
    # Without effect on the answer.
    user: Any = None
    metadata: Any = None
    safety_identifier: Any = None
    prompt_cache_key: Any = None
    # Nothing is stored, and no probabilities are known: what says so is welcome.
    store: Literal[False] | None = None
    logprobs: Literal[False] | None = None

    @model_validator(mode="after")
    def _tools_are_there(self) -> Self:
        if not self.tools and self.tool_choice not in (None, "none", "auto"):
            raise ValueError("tool_choice asks for tools, and there are none")
        return self

    def told(self) -> Asked:
        return Asked(
            agent=self.model,
            messages=[message.told() for message in self.messages],
            settings=self._settings(),
            tools=[tool.told() for tool in self.tools or ()],
        )

    def _settings(self) -> ModelSettings:
        form = self.response_format
        return ModelSettings(
            temperature=self.temperature,
            top_p=self.top_p,
            max_output_tokens=self.max_completion_tokens or self.max_tokens,
            stop=tuple(self.stop or ()),
            seed=self.seed,
            presence_penalty=self.presence_penalty,
            frequency_penalty=self.frequency_penalty,
            response_format=form.model_dump(exclude_none=True) if form else None,
            # Several servers refuse what speaks of tools where there are none.
            tool_choice=self.tool_choice if self.tools else None,
            parallel_tool_calls=self.parallel_tool_calls if self.tools else None,
            reasoning_effort=self.reasoning_effort,
        )
