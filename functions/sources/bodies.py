"""What clients send of a source. Of a provider: its configuration and its credentials."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, Field, ValidationError

from chatbot import fetching
from chatbot.bodies import Body
from chatbot.errors import BadInput, ValidationFailed
from functions.sources.schedules import check_schedule


def _public_url(url: str) -> str:
    try:
        fetching.check_url(url)
    except BadInput as error:
        raise ValueError(str(error)) from None
    return url


type BaseUrl = Annotated[str, Field(max_length=500), AfterValidator(_public_url)]
type Token = Annotated[str, Field(pattern=r"^[\x21-\x7e]{1,1000}$")]  # goes into a header
type SlackId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
type GitlabPath = Annotated[str, Field(max_length=255, pattern=r"^[^/\s?#%]+(/[^/\s?#%]+)*$")]
type BacklogKey = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]{0,63}$")]
type Some[Item] = Annotated[list[Item], Field(min_length=1, max_length=100)]


class SlackConfig(Body):
    base_url: BaseUrl = "https://slack.com/api"
    channels: Annotated[list[SlackId], Field(max_length=1000)] = Field(default_factory=list)
    page_size: Annotated[int, Field(ge=1, le=999)] = 100
    reply_window_days: Annotated[int, Field(ge=0, le=3650)] = 14
    include_bots: bool = False
    join_public_channels: bool = False


class SlackCredentials(Body):
    bot_token: Token


class GitlabConfig(Body):
    base_url: BaseUrl = "https://gitlab.com/api/v4"
    projects: Some[GitlabPath]
    include: Some[Literal["issues", "merge_requests", "wikis", "files"]] = Field(
        default=["issues", "merge_requests", "wikis", "files"]
    )
    ref: Annotated[str, Field(min_length=1, max_length=255)] = ""
    include_confidential: bool = False


class GitlabCredentials(Body):
    private_token: Token


class BacklogConfig(Body):
    base_url: BaseUrl
    projects: Some[BacklogKey]
    include: Some[Literal["issues", "wikis"]] = Field(default=["issues", "wikis"])


class BacklogCredentials(Body):
    api_key: Token


class Provider(NamedTuple):
    config: type[Body]
    credentials: type[Body]


PROVIDERS = {
    "slack": Provider(SlackConfig, SlackCredentials),
    "gitlab": Provider(GitlabConfig, GitlabCredentials),
    "backlog": Provider(BacklogConfig, BacklogCredentials),
}


def _known_provider(name: str) -> str:
    if name not in PROVIDERS:
        raise ValueError(f"the provider is none of {', '.join(PROVIDERS)}")
    return name


type Name = Annotated[str, Field(min_length=1, max_length=200)]
type ProviderName = Annotated[
    str, AfterValidator(_known_provider), Field(json_schema_extra={"enum": [*PROVIDERS]})
]
type Config = Annotated[dict[str, Any], Field(examples=[{"channels": ["C0123456789"]}])]
type Credentials = Annotated[dict[str, Any], Field(examples=[{"bot_token": "xoxb-token"}])]
type Schedule = Annotated[str, Field(max_length=200), AfterValidator(check_schedule)]


class SourcePatch(Body):
    """`config` is merged into what there is, `credentials` replace it."""

    name: Name = ""
    config: Config = Field(default_factory=dict)
    credentials: Credentials = Field(default_factory=dict)
    schedule: Schedule = "rate(1 hour)"
    is_enabled: bool = True


class NewSource(SourcePatch):
    """`config` and `credentials` are what the provider has."""

    provider: ProviderName
    name: Name
    config: Config
    credentials: Credentials


def check_config(provider: str, config: Mapping[str, Any]) -> None:
    """Raise `ValidationFailed` for what is no configuration of the provider."""
    _check(PROVIDERS[provider].config, config, "config")


def check_credentials(provider: str, credentials: Mapping[str, Any]) -> None:
    """Raise `ValidationFailed` for what are no credentials of the provider."""
    _check(PROVIDERS[provider].credentials, credentials, "credentials")


def _check(model: type[Body], value: Mapping[str, Any], field: str) -> None:
    try:
        model.model_validate(value)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False, include_input=False)
        raise ValidationFailed(
            "the request is not valid",
            errors=[
                {"loc": ["body", field, *fault["loc"]], "msg": fault["msg"], "type": fault["type"]}
                for fault in faults
            ],
        ) from None
