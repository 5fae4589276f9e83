"""The producer of an answer: its frames, its fence, and all that can come in between."""

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from chatbot import aws, connections, turns
from chatbot.errors import BadInput, RetryLater
from chatbot.identifiers import now_ms
from functions.chat_stream import answer, delivery, handler, prompt, request
from tests.unit.chat.world import USER, Frame, Killed, LambdaContext, World, error


@pytest.fixture
def ann(world: World) -> str:
    return world.connect("ann")


@pytest.fixture
def no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """A producer that died is taken for dead at once."""
    monkeypatch.setattr(turns, "PRODUCER_MS", -1)


def text_of(frames: list[Frame]) -> str:
    return "".join(frame["content"] for frame in frames if frame["status"] == "streaming")


def test_first_frame_is_sent_before_the_model_has_finished(world: World, ann: str) -> None:
    ack = world.chat(ann)
    seen = threading.Event()
    world.gateway.on_post = lambda *_: seen.set()
    world.model.says("Hello", lambda: seen.wait(10), " there")
    world.run(ack["message_id"])
    assert seen.is_set()
    assert text_of(world.frames(ann, ack["message_id"])) == "Hello there"


def test_frame_is_stored_when_it_is_sent(world: World, ann: str) -> None:
    stored: list[bool] = []

    def on_post(_: str, frame: Frame) -> None:
        if frame["type"] == "assistant":
            stored.append(world.item("turns", **turns.key(frame["message_id"], frame["seq"])) != {})

    ack = world.chat(ann)
    world.gateway.on_post = on_post
    world.run(ack["message_id"])
    assert stored
    assert all(stored)


@pytest.mark.parametrize(
    "text",
    [
        "👩‍👩‍👧‍👦👍🏽🏳️‍🌈" * 6_000,
        "東京都は日本の首都です。" * 4_000,
        'a "quoted" \\ line\n\t' * 6_000,
        "\x01" * 12_000,
    ],
    ids=["emoji", "cjk", "escapes", "control"],
)
def test_pieces_fit_into_frames_and_join_to_the_text_when_it_is_long(
    text: str, world: World, ann: str
) -> None:
    ack = world.chat(ann)
    world.model.says(text)
    world.run(ack["message_id"])
    final = world.check_ended(ann, ack)
    assert text_of(world.frames(ann, ack["message_id"])) == text
    assert final["content_truncated"] is True
    assert "content" not in final


def test_pieces_are_gathered_when_they_come_quickly(
    world: World, ann: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answer, "GATHER_SECONDS", 0.15)
    monkeypatch.setattr(answer, "RENEW_SECONDS", 1.0)
    ack = world.chat(ann)
    world.model.says(*["word "] * 500)
    world.run(ack["message_id"])
    assert len(world.frames(ann, ack["message_id"])) < 20
    assert world.check_ended(ann, ack)["content"] == "word " * 500


class KillAfter:
    """Kills whoever makes the nth DynamoDB call from now, after the call took effect."""

    def __init__(self, calls: int) -> None:
        self.left = calls
        self.struck = False
        self.thread = threading.get_ident()

    def __call__(self, **_: Any) -> None:
        if threading.get_ident() != self.thread:
            return
        self.left -= 1
        if self.left == 0:
            self.struck = True
            raise Killed


def killed_after(calls: int, work: Callable[[], Any]) -> bool:
    """Do a piece of work, dying after so many DynamoDB calls; False if it got to its end."""
    events = aws.client("dynamodb").meta.events
    kill = KillAfter(calls)
    events.register("after-call.dynamodb", kill)
    try:
        work()
    except Killed:
        return True
    finally:
        events.unregister("after-call.dynamodb", kill)
    assert not kill.struck
    return False


def test_turn_ends_once_when_the_producer_is_killed_after_any_write(
    world: World, ann: str, no_wait: None
) -> None:
    for calls in range(1, 40):
        ack = world.chat(ann)
        world.model.says("Hello", " ", "there")

        def stream(message_id: str = ack["message_id"]) -> None:
            world.stream(message_id)

        killed = killed_after(calls, stream)
        world.model.scripts.clear()
        world.run(ack["message_id"])
        final = world.check_ended(ann, ack)
        assert final["status"] in {"completed", "failed"}
        if final["status"] == "failed":
            assert final["error"]["code"] == "interrupted"
            assert final["content"]
        if not killed:
            assert calls > 10
            return
    pytest.fail("the producer never came to its end")


@pytest.mark.parametrize("sends", [1, 2, 3])
def test_turn_ends_once_when_the_producer_is_killed_after_any_send(
    sends: int, world: World, ann: str, no_wait: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    ack = world.chat(ann)
    sent = threading.Semaphore(0)
    world.gateway.on_post = lambda *_: sent.release()
    renew = turns.renew

    def die_once_sent(*arguments: Any) -> turns.Head:
        if sent.acquire(blocking=False):
            left.pop()
        if not left:
            raise Killed
        return renew(*arguments)

    left = [None] * sends
    world.model.says("a", 0.1, "b", 0.1, "c", 0.1, "d", 30)
    with monkeypatch.context() as patch:
        patch.setattr(turns, "renew", die_once_sent)
        with pytest.raises(Killed):
            world.stream(ack["message_id"])
    world.run(ack["message_id"])
    final = world.check_ended(ann, ack)
    assert (final["status"], final["error"]["code"]) == ("failed", "interrupted")
    assert final["content"] in {"abcd"[:length] for length in range(sends, 5)}


def test_exactly_one_wins_when_two_producers_append(world: World, ann: str, no_wait: None) -> None:
    """The second one comes while the first is in the middle, and the first finds out."""
    ack = world.chat(ann)
    result: list[dict[str, Any]] = []

    def second() -> None:
        # On a thread of its own, as the model's thread must not wait for the turn.
        thread = threading.Thread(target=lambda: result.append(world.stream(ack["message_id"])))
        thread.start()
        thread.join(20)

    world.model.scripts.append([second, "I am ", "first", *world.model.END])
    world.model.says("I am ", "second")
    first = world.stream(ack["message_id"])
    assert world.end(first)["status"] == "completed"
    world.end(result[0])
    assert world.check_ended(ann, ack)["content"] == "I am second"
    sent = [frame["content"] for frame in world.got(ann) if frame["type"] == "assistant"]
    assert "first" not in sent, "the loser sent nothing"


def test_a_living_producer_is_left_alone_when_a_second_one_comes(world: World, ann: str) -> None:
    ack = world.chat(ann)
    done: list[dict[str, Any]] = []
    threads: list[threading.Thread] = []

    def second() -> None:
        threads.append(
            threading.Thread(target=lambda: done.append(world.stream(ack["message_id"])))
        )
        threads[0].start()

    world.model.says("one ", second, 0.3, "answer")
    world.run(ack["message_id"])
    threads[0].join(10)
    assert len(done) == 1
    assert len(world.model.requests) == 1
    assert world.check_ended(ann, ack)["content"] == "one answer"


def test_put_that_is_sent_twice_meets_itself_when_its_answer_was_lost(world: World) -> None:
    turns.append("turn", 1, "frame", "me")
    turns.append("turn", 1, "frame", "me")
    with pytest.raises(turns.Lost):
        turns.append("turn", 1, "frame", "another")


@pytest.mark.parametrize("pieces", [0, 1, 3])
def test_model_is_stopped_within_two_seconds_when_cancelled_after(
    pieces: int, world: World, ann: str
) -> None:
    ack = world.chat(ann)
    asked: list[float] = []

    def cancel() -> None:
        asked.append(time.monotonic())
        answers = world.send(ann, {"type": "cancel", "message_id": ack["message_id"]})
        assert "error" not in {answer["type"] for answer in answers}

    world.model.says(*["word "] * pieces, 0.2, cancel, 30, "never said")
    result = world.stream(ack["message_id"])
    assert time.monotonic() - asked[0] < 2
    assert world.end(result)["status"] == "cancelled"
    final = world.check_ended(ann, ack)
    assert final["content"] == "word " * pieces
    assert (final["stop_reason"], final["usage"]["estimated"]) == ("cancelled", True)
    assert final["usage"]["input_tokens"] > 0
    assert bool(final["usage"]["output_tokens"]) == bool(pieces)


@pytest.mark.parametrize("code", ["ThrottlingException", "ModelStreamErrorException"])
@pytest.mark.parametrize("at_once", [True, False])
def test_machine_tries_again_when_the_model_fails_before_the_first_text(
    code: str, at_once: bool, world: World, ann: str
) -> None:
    ack = world.chat(ann)
    world.model.scripts.append([error(code)] if at_once else [0.01, error(code)])
    world.model.says("Hello")
    with pytest.raises(RetryLater):
        world.stream(ack["message_id"])
    started = time.monotonic()
    world.run(ack["message_id"])
    assert time.monotonic() - started < turns.PRODUCER_MS / 1000
    assert world.check_ended(ann, ack)["content"] == "Hello"


def test_turn_fails_without_retry_when_the_model_breaks_after_text(world: World, ann: str) -> None:
    ack = world.chat(ann)
    world.model.scripts.append(["Hello", 0.2, error("modelStreamErrorException")])
    assert world.run(ack["message_id"])["status"] == "failed"
    final = world.check_ended(ann, ack)
    assert (final["content"], final["error"]["code"]) == ("Hello", "model_error")
    assert final["usage"]["estimated"] is True


def test_turn_fails_when_the_stream_ends_without_a_stop(world: World, ann: str) -> None:
    ack = world.chat(ann)
    world.model.scripts.append(["Hello"])
    assert world.run(ack["message_id"])["status"] == "failed"


def test_turn_fails_at_once_when_the_request_is_refused(world: World, ann: str) -> None:
    ack = world.chat(ann)
    world.model.scripts.append([error("ValidationException")])
    assert world.run(ack["message_id"])["status"] == "failed"
    assert world.check_ended(ann, ack)["error"]["code"] == "model_error"


def test_turn_fails_instead_of_retrying_when_it_is_late(
    world: World, ann: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answer, "FIRST_TEXT_MS", -1)
    ack = world.chat(ann)
    world.model.scripts.append([error("ThrottlingException")])
    assert world.run(ack["message_id"])["status"] == "failed"


@pytest.mark.parametrize("script", [[60], ["Hello", 60]])
def test_turn_fails_with_its_text_when_the_model_falls_silent(
    script: list[Any], world: World, ann: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answer, "FIRST_TEXT_MS", 300)
    monkeypatch.setattr(answer, "SILENCE_SECONDS", 0.3)
    ack = world.chat(ann)
    world.model.says(*script)
    assert world.run(ack["message_id"])["status"] == "failed"
    final = world.check_ended(ann, ack)
    assert (final["error"]["code"], final["content"]) == ("model_stalled", "".join(script[:-1]))


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("end_turn", "end_turn"),
        ("max_tokens", "max_tokens"),
        ("stop_sequence", "stop_sequence"),
        ("guardrail_intervened", "guardrail_intervened"),
        ("content_filtered", "guardrail_intervened"),
        ("model_context_window_exceeded", "max_tokens"),
        ("something_new", "end_turn"),
    ],
)
def test_stop_reason_is_the_contracts_when_the_model_says(
    reason: str, told: str, world: World, ann: str
) -> None:
    ack = world.chat(ann)
    world.model.scripts.append(["x", {"messageStop": {"stopReason": reason}}])
    world.run(ack["message_id"])
    final = world.check_ended(ann, ack)
    assert (final["status"], final["stop_reason"]) == ("completed", told)
    assert final["usage"]["estimated"] is True


def test_answer_ends_completed_when_the_lambdas_time_is_nearly_over(world: World, ann: str) -> None:
    ack = world.chat(ann)
    world.model.says("Hello", 30)
    context = LambdaContext(ends=time.monotonic() + answer.RESERVE_MS / 1000 + 0.5)
    assert world.end(world.stream(ack["message_id"], context))["status"] == "completed"
    final = world.check_ended(ann, ack)
    assert (final["stop_reason"], final["content"]) == ("time_limit", "Hello")


def test_answer_ends_with_max_tokens_when_it_outgrows_an_item(
    world: World, ann: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answer, "MAX_ANSWER_BYTES", 10)
    ack = world.chat(ann)
    world.model.says("12345", "67890", "1", 60)
    world.run(ack["message_id"])
    assert world.check_ended(ann, ack)["stop_reason"] == "max_tokens"


def test_others_get_the_answer_at_their_pace_when_one_is_slow(world: World, ann: str) -> None:
    ack = world.chat(ann)
    slow = world.connect("slow")
    world.send(slow, {"type": "open", "conversation_id": ack["conversation_id"]})
    world.gateway.slow[slow] = 1.0
    world.model.says("a", 0.05, "b", 0.05, "c", 0.05, "d")
    started = time.monotonic()
    seen: list[float] = []
    world.gateway.on_post = lambda name, _: seen.append(time.monotonic()) if name == ann else None
    result = world.stream(ack["message_id"])
    assert max(seen) - started < 1
    world.gateway.slow[slow] = 0
    world.end(result)
    assert world.check_ended(slow, ack) == world.check_ended(ann, ack)


def test_follower_is_dropped_when_it_is_gone(world: World, ann: str) -> None:
    ack = world.chat(ann)
    tablet = world.connect("tablet")
    world.send(tablet, {"type": "open", "conversation_id": ack["conversation_id"]})
    world.gateway.gone.add(ann)
    world.run(ack["message_id"])
    assert world.check_ended(tablet, ack)["status"] == "completed"
    assert [f.connection_id for f in connections.followers(ack["conversation_id"])] == [tablet]


def test_all_frames_come_in_order_when_some_posts_fail(
    world: World, ann: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "PAUSE_SECONDS", 0.01)
    ack = world.chat(ann)
    world.gateway.failures[ann] = 4
    world.model.says(*"abcdef")
    world.run(ack["message_id"])
    seqs = [frame["seq"] for frame in world.got(ann) if frame["type"] == "assistant"]
    assert seqs == list(range(1, 8))


def test_resume_gets_all_after_its_seq_when_the_answer_is_being_made(
    world: World, ann: str
) -> None:
    for after in range(5):
        ack = world.chat(ann)
        phone = world.connect(f"phone{after}")
        resume = {"type": "resume", "message_id": ack["message_id"], "after_seq": after}

        def wish(phone: str = phone, resume: dict[str, Any] = resume) -> None:
            world.send(phone, resume)

        world.model.says("a", 0.05, "b", 0.05, wish, "c", 0.05, "d")
        world.run(ack["message_id"])
        frames = world.frames(ann, ack["message_id"])
        assert [f["seq"] for f in frames] == [1, 2, 3, 4, 5]
        assert world.frames(phone, ack["message_id"]) == frames[after:]


def test_frames_come_again_when_the_same_connection_resumes(world: World, ann: str) -> None:
    ack = world.chat(ann)
    resume = {"type": "resume", "message_id": ack["message_id"], "after_seq": 1}
    again = [lambda: world.send(ann, resume, "again"), world.waits(ann, 2, times=2)]
    world.model.says("a", world.waits(ann, 1), "b", world.waits(ann, 2), *again, "c")
    world.run(ack["message_id"])
    seqs = [frame["seq"] for frame in world.got(ann) if frame["type"] == "assistant"]
    assert seqs == [1, 2, 2, 3, 4]


def test_follower_that_comes_late_gets_all_when_it_opens(world: World, ann: str) -> None:
    ack = world.chat(ann)
    late = world.connect("late")
    opens = {"type": "open", "conversation_id": ack["conversation_id"]}
    world.model.says("a", 0.05, "b", lambda: world.send(late, opens), 0.1, "c")
    world.run(ack["message_id"])
    assert world.frames(late, ack["message_id"]) == world.frames(ann, ack["message_id"])


def test_member_gets_nothing_more_when_removed_in_the_middle(world: World, ann: str) -> None:
    ack = world.chat(ann)
    world.model.says("a", world.waits(ann, 1), lambda: connections.end_user(USER), 30, "never")
    assert world.run(ack["message_id"])["status"] == "cancelled"
    assert text_of(world.frames(ann, ack["message_id"])) == "a"
    assert world.frames(ann, ack["message_id"])[-1]["status"] == "streaming"


def test_model_gets_settings_and_prompt_when_asked(world: World, ann: str) -> None:
    world.chatbot |= {
        "system_prompt": "{{ user.full_name }} of {{ workspace.name }} asks {{ chatbot.name }},"
        " {{ now.year }}.",
        "top_p": 0.9,
        "max_tokens": 500_000,
    }
    ack = world.chat(ann, "Hi [[x]]")
    world.run(ack["message_id"])
    [asked] = world.model.requests
    year = time.gmtime().tm_year
    assert asked == {
        "modelId": "amazon.nova-lite-v1:0",
        "system": [{"text": f"Ann of Works asks Assistant, {year}."}],
        "messages": [{"role": "user", "content": [{"text": "Hi [[x]]"}]}],
        "inferenceConfig": {"maxTokens": 10_000, "temperature": 0.5, "topP": 0.9},
    }


def test_model_gets_the_newest_whole_turns_when_the_history_is_long(
    world: World, ann: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request, "HISTORY_TOKENS", 20)
    world.chatbot["system_prompt"] = ""
    conversation: dict[str, str] = {}
    for question, said in [("q1", "a" * 60), ("q2", "b" * 30), ("q3", "c" * 30), ("q4", "d")]:
        ack = world.chat(ann, question, **conversation)
        conversation = {"conversation_id": ack["conversation_id"]}
        world.model.says(said)
        world.run(ack["message_id"])
    asked = world.model.requests[-1]
    assert "system" not in asked
    assert [(m["role"], m["content"][0]["text"]) for m in asked["messages"]] == [
        ("user", "q2"),
        ("assistant", "b" * 30),
        ("user", "q3"),
        ("assistant", "c" * 30),
        ("user", "q4"),
    ]


def test_users_own_words_are_the_last_block_when_the_turn_before_had_no_answer(
    world: World, ann: str
) -> None:
    first = world.chat(ann, "one")
    world.send(ann, {"type": "cancel", "message_id": first["message_id"]})
    second = world.chat(ann, "two", conversation_id=first["conversation_id"])
    world.run(second["message_id"])
    [message] = world.model.requests[-1]["messages"]
    assert message == {"role": "user", "content": [{"text": "one"}, {"text": "two"}]}


@pytest.mark.parametrize(
    "template",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{{ 'x' * 999999999 }}",
        "{{ 9 ** 9 ** 9 ** 9 }}",
        "{{ '%999999999d' % 1 }}",
        "{% for a in range(99999) %}xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx{% endfor %}",
        "{{ ''.__class__.__mro__ }}",
        "{{ user.full_name.nothing.more }}",
        "{{ 1 / 0 }}",
        "{{ user",
        "{% include 'x' %}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    ],
)
def test_turn_fails_honestly_when_the_prompt_does_not_render(
    template: str, world: World, ann: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prompt, "MAX_SECONDS", 0.5)
    world.chatbot["system_prompt"] = template
    ack = world.chat(ann)
    assert world.run(ack["message_id"])["status"] == "failed"
    assert world.check_ended(ann, ack)["error"]["code"] == "bad_prompt"
    assert world.model.requests == []


def test_prompt_is_left_as_it_is_when_it_has_no_braces() -> None:
    context = {"chatbot": {"system_prompt": "plain\n"}}
    assert prompt.render(context) == "plain\n"
    with pytest.raises(BadInput):
        prompt.render({"chatbot": {"system_prompt": "{{ x.y }}"}, "user": {}, "workspace": {}})


def test_turn_is_left_alone_when_it_has_ended_or_is_unknown(world: World, ann: str) -> None:
    ack = world.chat(ann)
    world.run(ack["message_id"])
    result = world.stream(ack["message_id"])
    assert "calls" not in result
    assert "calls" not in world.stream("0190dddd-0000-7000-8000-000000000000")
    assert len(world.model.requests) == 1


def test_lease_is_renewed_while_the_model_is_silent(world: World, ann: str) -> None:
    ack = world.chat(ann)
    leases: list[int] = []

    def look() -> None:
        head = turns.head(ack["message_id"])
        assert head is not None
        leases.append(head.lease_until)

    begun = now_ms()
    world.model.says(0.2, look, 0.3, look)
    world.run(ack["message_id"])
    assert begun + turns.LEASE_MS <= leases[0] < leases[1]


def test_request_is_served_from_the_execution_input_when_it_has_more(
    world: World, ann: str
) -> None:
    ack = world.chat(ann)
    event = world.machine.inputs[ack["message_id"]]
    assert handler.handler(event, LambdaContext())["message_id"] == ack["message_id"]
