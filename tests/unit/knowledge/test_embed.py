"""From a change of a document to the index: once, in order, and not at any price."""

import pytest

from chatbot import documents
from functions.embed import handler as embed
from functions.embed.splitting import split
from tests.unit.knowledge.conftest import Context, World

LONG = "\n\n".join(f"# Part {n}\n\n" + f"Sentence of part {n}. " * 60 for n in range(6))


def test_document_is_embedded_when_it_is_put(world: World) -> None:
    assert world.put("Travel costs are paid back.") == "changed"
    assert world.row()["status"] == "pending"
    assert world.run() == 1
    row = world.row()
    assert (row["status"], row["chunk_count"]) == ("embedded", 1)
    assert "pending" not in row
    assert world.found() == ["Travel costs are paid back."]
    assert world.titan.texts == ["A title\n\nTravel costs are paid back."]


def test_nothing_is_embedded_when_nothing_has_changed(world: World) -> None:
    world.put("Text.", run="1")
    world.run()
    version = world.row()["version"]
    assert world.put("Text.", run="1") == "changed"  # the same run, again after a kill
    assert world.put("Text.", run="2") == "unchanged"
    assert world.records() == []
    row = world.row()
    assert (row["version"], row["seen_run"], row["status"]) == (version, "2", "embedded")
    assert len(world.titan.texts) == 1


def test_edit_replaces_the_old_text_and_embeds_only_what_is_new(world: World) -> None:
    world.put(LONG)
    world.run()
    before = len(world.titan.texts)
    assert before == len(split(LONG)) > 3
    old = world.objects()
    edited = LONG.replace("Sentence of part 3.", "Another sentence.", 1)
    world.put(edited)
    world.run()
    assert world.found() == split(edited)
    assert len(world.titan.texts) == before + 1
    assert len(world.objects()) == len(old) == 2
    assert not world.objects() & old


@pytest.mark.parametrize("field", ["title", "url"])
def test_title_and_link_are_replaced_when_the_text_stays(world: World, field: str) -> None:
    world.put("Text.")
    world.run()
    assert world.put("Text.", **{field: "https://example.com/new"}) == "changed"
    world.run()
    assert world.row()[field] == "https://example.com/new"
    assert world.row()["status"] == "embedded"


def test_old_text_is_not_found_any_more_when_an_edit_cannot_be_embedded(world: World) -> None:
    world.put("The code is 1111.")
    world.run()
    world.put("The code is 2222, said the poison.")
    world.run()
    row = world.row()
    assert (row["status"], row["chunk_count"]) == ("failed", 0)
    assert not world.found()
    assert len(world.dead_letters()) == 1
    world.titan.poison = "nothing of the kind"
    assert documents.replay(row["document_id"])
    world.run()
    assert world.found() == ["The code is 2222, said the poison."]
    assert len(world.objects()) == 2


def test_superseded_versions_leave_the_bucket_when_a_newer_one_is_stored(world: World) -> None:
    world.put("One.")
    world.run()
    world.put("Two.")
    between = world.records()
    world.put("Three.")
    newest = world.records()
    assert world.embed(between) == world.embed(newest) == []
    assert world.found() == ["Three."]
    assert len(world.objects()) == 2
    assert world.row()["text_key"] in world.objects()
    world.put("One.")  # as it was at first
    world.run()
    assert world.found() == ["One."]
    assert len(world.objects()) == 2


def test_changes_of_a_document_are_served_in_order_when_they_come_together(world: World) -> None:
    world.put("Text.")
    [added] = world.records()
    documents.remove(world.row()["document_id"])
    [removed] = world.records()
    assert world.embed([added, removed]) == []
    assert not world.found()
    assert world.objects() == set()


def test_stale_event_changes_nothing_when_a_newer_version_is_there(world: World) -> None:
    world.put("Old.")
    stale = world.records()
    world.put("New.")
    world.run()
    assert world.embed(stale) == []
    assert world.found() == ["New."]
    assert world.row()["status"] == "embedded"
    assert "A title\n\nOld." not in world.titan.texts


def test_document_is_embedded_once_when_its_event_comes_twice(world: World) -> None:
    world.put("Text.")
    records = world.records()
    assert world.embed(records) == world.embed(records) == []
    assert world.index.writes == len(world.titan.texts) == 1


def test_deleted_document_leaves_index_and_bucket(world: World) -> None:
    world.put("Secret.")
    pending = world.records()
    world.embed(pending)
    documents.remove(world.row()["document_id"])
    world.run()
    assert world.found() is None
    assert world.objects() == set()
    # An event of before that comes once more.
    assert world.embed(pending) == []
    assert world.found() is None


def test_document_comes_back_when_it_is_put_after_its_removal(world: World) -> None:
    world.put("Here.")
    world.run()
    documents.remove(world.row()["document_id"])
    removal = world.records()
    world.put("Here again.")
    world.run()
    # The removal is told late; it must not take what is there now.
    assert world.embed(removal) == []
    assert world.found() == ["Here again."]
    assert world.row()["text_key"] in world.objects()


def test_poison_ends_failed_and_in_the_dead_letters_while_others_pass(world: World) -> None:
    world.put("This is poison.", "bad")
    world.put("This is food.", "good")
    assert world.run() == embed.ATTEMPTS
    assert world.found("good") == ["This is food."]
    bad = world.row("bad")
    assert (bad["status"], world.found("bad")) == ("failed", [])
    assert documents.document_json(bad)["error"]
    assert "poison" not in bad["error"]
    (letter,) = world.dead_letters()
    assert (letter["document_id"], letter["version"]) == (bad["document_id"], bad["version"])
    assert world.records() == []


def test_failed_document_is_embedded_when_it_is_replayed(world: World) -> None:
    world.put("This is poison.")
    world.run()
    world.titan.poison = "nothing of the kind"
    assert documents.replay(world.row()["document_id"])
    assert not documents.replay(world.row()["document_id"])  # it waits already
    world.run()
    row = world.row()
    assert (row["status"], row.get("error")) == ("embedded", None)
    assert world.found() == ["This is poison."]


def test_attempts_end_when_each_one_kills_the_process(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def die(*_: object) -> None:
        raise Killed

    world.put("Text.")
    records = world.records()
    with monkeypatch.context() as patch:
        patch.setattr(embed, "_chunks", die)
        for _ in range(embed.ATTEMPTS):
            with pytest.raises(Killed):
                world.embed(records)
    assert world.embed(records) == []
    assert world.row()["status"] == "failed"
    assert len(world.dead_letters()) == 1


def test_embeddings_are_paid_once_when_the_database_is_away(world: World) -> None:
    world.put("Text.")
    records = world.records()
    world.index.away = True
    assert world.embed(records) == ["0"]
    world.index.away = False
    assert world.embed(records) == []
    assert world.found() == ["Text."]
    assert len(world.titan.texts) == 1


def test_busy_model_is_asked_again_when_the_stream_retries(world: World) -> None:
    world.put("Text.")
    world.titan.busy = 2
    assert world.run() == 3
    assert world.row()["status"] == "embedded"


def test_document_is_queued_again_when_its_event_was_lost(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.put("Text.")
    world.records()  # and nobody was told
    assert embed.handler({"action": "queue"}, Context()) == {"queued": 0}
    monkeypatch.setattr(embed, "STUCK_MS", -1_000)
    assert embed.handler({"action": "queue"}, Context()) == {"queued": 1}
    world.run()
    assert world.found() == ["Text."]
    assert embed.handler({"action": "queue"}, Context()) == {"queued": 0}


def test_index_is_rebuilt_from_the_bucket_without_the_model(world: World) -> None:
    for number in range(3):
        world.put(f"Text {number}.", str(number))
    world.run()
    before, asked = dict(world.index.chunks), len(world.titan.texts)
    world.index.chunks.clear()
    world.index.versions.clear()
    assert embed.handler({"action": "reindex"}, Context()) == {"restored": 3}
    assert world.index.chunks == before
    assert len(world.titan.texts) == asked


def test_rebuilding_goes_on_where_it_was_when_time_is_short(world: World) -> None:
    world.put("Text.")
    world.run()
    world.index.chunks.clear()
    late = embed.handler({"action": "reindex"}, Context(remaining=0))
    assert late == {"restored": 0, "after": ""}
    assert embed.handler({"action": "reindex", "after": ""}, Context()) == {"restored": 1}
    (last,) = [key for key in world.objects() if key.startswith("embeddings/")]
    assert embed.handler({"action": "reindex", "after": last}, Context()) == {"restored": 0}


def test_text_is_stored_without_what_postgresql_refuses(world: World) -> None:
    world.put("a\0b \ud800", title="t\0")
    world.run()
    assert world.found() == ["ab ?"]
    assert world.row()["title"] == "t"
