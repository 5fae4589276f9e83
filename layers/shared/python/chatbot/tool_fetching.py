"""What tools say of servers that do not do as they should."""

from collections.abc import Iterator
from contextlib import contextmanager

from chatbot import log
from chatbot.errors import BadInput, Gone, RetryLater
from chatbot.fetching import RateLimited, Refused, TooLarge
from chatbot.tool_calls import ToolFailed

# What an answer of another form than documented raises, when it is read.
MALFORMED = (LookupError, TypeError, ValueError, AttributeError, RecursionError)


@contextmanager
def words_for_failures(what: str) -> Iterator[None]:
    """Raise `ToolFailed`, in words for the model and the user, for what `Client` raises.

    Which server it was and what it said stands in the log. `what` begins a sentence.
    """
    try:
        yield
    except RateLimited as error:
        raise ToolFailed(f"{what} is busy: it asks to wait {error.seconds} seconds.") from None
    except RetryLater as error:
        _note(error)
        raise ToolFailed(f"{what} does not answer as it should at the moment.") from None
    except BadInput as error:
        _note(error)
        raise ToolFailed(
            f"{what} cannot be used: its address or its key is refused."
            " An administrator has to correct that."
        ) from None
    except (Gone, Refused) as error:
        _note(error)
        raise ToolFailed(f"{what} refuses this request.") from None
    except TooLarge as error:
        _note(error)
        raise ToolFailed(f"{what} gave an answer that is too long to read.") from None
    except MALFORMED as error:
        _note(error)
        raise ToolFailed(f"{what} gave an answer that cannot be read.") from None


def _note(error: Exception) -> None:
    # Of the client's own errors the text names host and path; others may hold what was read.
    ours = isinstance(error, BadInput | Gone | Refused | RetryLater | TooLarge)
    reason = f"{type(error).__name__}: {error}" if ours else type(error).__name__
    log.logger().warning("a server failed a tool", code=log.Code.TOOL_SERVER, reason=reason)
