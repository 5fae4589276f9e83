"""Sends a running turn's frames while no producer is at work: a tool runs, an approval waits.

Tools that end side by side, and clients that come back meanwhile, all have frames to send. One
sends at a time, on from where the last one was, so that each connection gets them in order.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

from chatbot import connections, log, turns
from chatbot.connections import Follower
from chatbot.errors import Gone

SENDERS = 16


def send(message_id: str) -> None:
    """Send all followers what they have not got, or leave that to whoever is doing it now."""
    sender = uuid4().hex
    while (delivered := turns.take_delivery(message_id, sender)) is not None:
        head = turns.head(message_id)
        if head is None or not head.is_running or head.has_producer:
            return turns.give_delivery(message_id, sender, delivered)
        stored = list(turns.frames(message_id))
        sent = _send(head, stored, delivered)
        turns.give_delivery(message_id, sender, sent)
        if turns.last_seq(message_id) == len(stored):
            return None
    return None


def _send(head: turns.Head, stored: Sequence[str], before: turns.Delivered) -> turns.Delivered:
    """Send frames to all who follow, and say who has got which."""

    def reached(follower: Follower) -> tuple[str, int]:
        mark, seq = follower.progress(head.message_id, before)
        for frame in stored[seq:]:
            try:
                connections.post(follower.connection_id, frame)
            except Gone:
                connections.unfollow(head.conversation_id, [follower.connection_id])
                break
            except connections.Undelivered as reason:  # whoever sends next begins with this one
                log.logger().info(
                    "frame not delivered", code=log.Code.FRAME_LEFT, reason=str(reason)
                )
                break
            seq += 1
        return mark, seq

    followers = connections.followers(head.conversation_id)
    if not followers:
        return {}
    with ThreadPoolExecutor(min(SENDERS, len(followers))) as pool:
        names = [follower.connection_id for follower in followers]
        return dict(zip(names, pool.map(reached, followers), strict=True))
