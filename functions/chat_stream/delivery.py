"""Sends an answer's frames to all who follow it, each at their own pace."""

import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from chatbot import connections, log
from chatbot.connections import Follower
from chatbot.errors import Gone
from chatbot.turns import Delivered

THREADS = 16
AT_ONCE = 64  # frames a connection gets before others have their turn at the threads
PAUSE_SECONDS = 0.25  # after a frame that did not arrive


@dataclass(slots=True)
class Lane:
    """One connection: `seq` is the last frame that it got, `mark` the resume that it asked for."""

    connection_id: str
    mark: str
    seq: int
    restart: int | None = None
    not_before: float = 0.0
    sending: Future[None] | None = None
    gone: bool = False

    @property
    def is_idle(self) -> bool:
        return self.sending is None or self.sending.done()


class Delivery:
    """Frames to followers. Each connection gets them in order, without gaps, one at a time."""

    def __init__(
        self, conversation_id: str, message_id: str, frames: list[str], sent: Delivered
    ) -> None:
        """Go on after `frames`, of which `sent` says who has which."""
        self.frames, self._sent = frames, sent
        self._conversation_id, self._message_id = conversation_id, message_id
        self._lanes: dict[str, Lane] = {}
        self._pool = ThreadPoolExecutor(THREADS)
        self._stopped = False

    def follow(self, followers: list[Follower]) -> None:
        """Take over who follows now, and where each wants to begin."""
        present = {follower.connection_id for follower in followers}
        for connection_id in set(self._lanes) - present:
            self._lanes.pop(connection_id).gone = True
        for follower in followers:
            mark, after = follower.progress(self._message_id, self._sent)
            lane = self._lanes.get(follower.connection_id)
            if lane is None:
                self._lanes[follower.connection_id] = Lane(follower.connection_id, mark, after)
            elif lane.mark != mark:
                lane.mark, lane.restart = mark, after

    def pump(self) -> None:
        """Have every connection that waits for frames sent some."""
        now = time.monotonic()
        for lane in self._lanes.values():
            waits = lane.restart is not None or lane.seq < len(self.frames)
            if waits and lane.is_idle and not lane.gone and lane.not_before <= now:
                lane.sending = self._pool.submit(self._send, lane)

    def finish(self, seconds: float) -> dict[str, tuple[str, int]]:
        """Wait a little until all have every frame. Returns {connection: (mark, last seq)}."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not all(map(self._has_all, self._lanes.values())):
            self.pump()
            time.sleep(0.01)
        self.stop()
        return {
            lane.connection_id: (lane.mark, lane.seq)
            for lane in self._lanes.values()
            if lane.is_idle and lane.restart is None and not lane.gone
        }

    def stop(self) -> None:
        """Send nothing more."""
        self._stopped = True
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _has_all(self, lane: Lane) -> bool:
        done = lane.restart is None and lane.seq >= len(self.frames)
        return lane.is_idle and (lane.gone or done)

    def _send(self, lane: Lane) -> None:
        for _ in range(AT_ONCE):
            if lane.restart is not None:
                lane.seq, lane.restart = lane.restart, None
            if self._stopped or lane.gone or lane.seq >= len(self.frames):
                return
            try:
                connections.post(lane.connection_id, self.frames[lane.seq])
            except Gone:
                lane.gone = True
                connections.unfollow(self._conversation_id, [lane.connection_id])
                return
            except connections.Undelivered as reason:
                log.logger().info(
                    "frame not delivered", code=log.Code.FRAME_RETRIED, reason=str(reason)
                )
                lane.not_before = time.monotonic() + PAUSE_SECONDS
                return
            lane.seq += 1
