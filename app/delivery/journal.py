"""What a worker began and what came of it, in Redis, message by message: it makes the end of a killed worker exact.

A journal is a Redis list, one for each claim. Its records are pushed without waiting for the reply: what a process
has written to a socket survives its SIGKILL. One push a message does: the answers so far, and what begins now.

Nobody can know for sure whether a silent worker is dead. So whoever recovers a claim seals its journal first, and reads
it SEAL_SECONDS later; and nobody begins a message whose last look at the seal is older than PROOF_SECONDS. So when the
journal is read, a worker that lives has stopped beginning messages of that claim, whatever the clocks say.

A journal is whole when its first record is there and its Redis has not been restarted since. From one that is not,
only the answers are believed: what is not answered there may have been begun.
"""

import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import orjson
from redis import Redis, RedisError
from redis.exceptions import ConnectionError as RedisConnectionError

from app.delivery.models import Stage
from app.delivery.transport import Answer, NotAnyMore, Reply

PROOF_SECONDS = 0.5
SEAL_SECONDS = 3.0
KEEP_SECONDS = 7 * 24 * 3600  # a database that is away for a week is somebody's concern by then
HEAD = b"open"
# Goes on while the machine sleeps, where the system has such a clock: who wakes up must not think that it was asked
# a moment ago.
CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def _key(name: str) -> str:
    return f"golub:journal:{name}"


def _seal_key(name: str) -> str:
    return f"golub:journal:{name}:sealed"


class JournalAway(Exception):
    """Redis can't be reached: nothing may begin, because nobody could tell afterwards."""


class JournalSealed(NotAnyMore):
    """The claim is somebody else's to settle, or its journal is gone: this message must not leave."""


class Journal:
    """One sending connection's journals, one after the other, over a connection to Redis of its own."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._connection: Any = None  # redis-py has no types for it
        self._name = ""
        self._recorded: list[str] = []
        self._answers: list[Answer] = []
        self._records = 0  # that this journal has to have by now
        self._proved_at = 0.0

    def open(self) -> str:
        """Begin the journal of a new claim, and return its name. Commit the claim after this, never before.

        Raises:
            JournalAway
        """
        self._answers = []
        try:
            if self._connection is None:
                self._connect()
            name = f"{self._run_id}/{uuid4().hex}"
            commands: list[tuple[Any, ...]] = [("RPUSH", _key(name), HEAD), ("EXPIRE", _key(name), KEEP_SECONDS)]
            commands += [("UNLINK", _key(done)) for done in self._recorded]
            self._ask(*commands)
        except (RedisError, OSError) as error:
            self._drop()
            raise JournalAway(str(error)) from error
        self._name, self._recorded, self._records = name, [], 1
        self._proved_at = time.clock_gettime(CLOCK)
        return name

    def note(self, answer: Answer) -> None:
        """Keep an answer for the next record."""
        self._answers.append(answer)

    def begin(self, delivery_id: int) -> None:
        """Write down that this message leaves now, and what came of those before.

        Raises:
            JournalAway, JournalSealed: it must not leave.
        """
        try:
            self._push(delivery_id)
            if time.clock_gettime(CLOCK) - self._proved_at > PROOF_SECONDS:
                self._prove()
        except (RedisError, OSError) as error:
            self._drop()
            raise JournalAway(str(error)) from error

    def flush(self) -> None:
        """Write down the answers that no further message has taken along. Harmless when Redis is away."""
        if self._answers and self._connection is not None:
            try:
                self._push(None)
            except (RedisError, OSError):
                self._drop()

    def recorded(self, name: str) -> None:
        """The outcomes of its claim are committed: nobody needs this journal, it goes with the next `open`."""
        self._recorded.append(name)

    def close(self) -> None:
        """End the connection to Redis, and throw away what nobody needs."""
        if self._connection is not None and self._recorded:
            with suppress(RedisError, OSError):
                self._ask(*(("UNLINK", _key(done)) for done in self._recorded))
        self._drop()

    def _connect(self) -> None:
        self._connection = self._redis.connection_pool.get_connection()
        self._run_id = _run_id(self._redis)

    def _push(self, delivery_id: int | None) -> None:
        if self._connection is None:
            raise RedisConnectionError("the journal's connection is gone")
        key = _key(self._name).encode()
        data = orjson.dumps([[_packed(answer) for answer in self._answers], delivery_id])
        # Written by hand: this is done for every message, and redis-py's own packing takes four times as long.
        self._connection.send_packed_command(
            [b"*3\r\n$6\r\nRPUSHX\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n" % (len(key), key, len(data), data)]
        )
        self._answers = []
        self._records += 1

    def _prove(self) -> None:
        """Have Redis say that everything has arrived, and that nobody has sealed this journal."""
        asked_at = time.clock_gettime(CLOCK)
        records, is_sealed = self._ask(("LLEN", _key(self._name)), ("EXISTS", _seal_key(self._name)))
        if is_sealed or not records:
            raise JournalSealed
        if records < self._records:
            # Its memory or its disk is full, or it has become a replica. It was told to say nothing, and said nothing.
            raise RedisConnectionError("Redis does not take what is written into the journal")
        self._proved_at = asked_at

    def _ask(self, *commands: tuple[Any, ...]) -> list[Any]:
        """The replies to these commands, in one round trip. Between two calls Redis is told to say nothing at all."""
        spoken = (("CLIENT", "REPLY", "ON"), *commands, ("CLIENT", "REPLY", "OFF"))
        self._connection.send_packed_command(self._connection.pack_commands(spoken))
        return [self._connection.read_response() for _ in spoken[:-1]][1:]

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.disconnect()
            self._redis.connection_pool.release(self._connection)
            self._connection = None


@dataclass(frozen=True)
class Story:
    """What a journal tells about its claim."""

    is_whole: bool  # what it does not mention was not begun
    begun: set[int] = field(default_factory=set)  # ids of deliveries
    answers: dict[int, Answer] = field(default_factory=dict)


def seal(names: Iterable[str], redis: Redis) -> None:
    """Have whoever still writes these journals stop, within PROOF_SECONDS. Read them SEAL_SECONDS later.

    Raises:
        redis.RedisError
    """
    with redis.pipeline(transaction=False) as pipe:
        for name in names:
            pipe.set(_seal_key(name), 1, ex=KEEP_SECONDS)
        pipe.execute()


def is_sealed(name: str, redis: Redis) -> bool:
    """Raises: redis.RedisError"""
    return bool(redis.exists(_seal_key(name)))


def read(name: str, redis: Redis) -> Story:
    """What is in a journal.

    Raises:
        redis.RedisError
    """
    records: Sequence[bytes] = redis.lrange(_key(name), 0, -1)  # type: ignore[assignment]  # redis-py: or awaitable
    is_whole = bool(records) and records[0] == HEAD and name.startswith(f"{_run_id(redis)}/")
    begun: set[int] = set()
    answers: dict[int, Answer] = {}
    for record in records:
        if record == HEAD:
            continue
        try:
            answered, delivery_id = orjson.loads(record)
            found = {answer.delivery_id: answer for answer in map(_unpacked, answered)}
        except (ValueError, TypeError):  # of another version: one journal must not hold back the sweep for ever
            is_whole = False
            continue
        answers |= found
        if delivery_id is not None:
            begun.add(delivery_id)
    return Story(is_whole, begun, answers)


def forget(names: Iterable[str], redis: Redis) -> None:
    """Throw away the journals of claims that are settled."""
    for name in names:
        redis.unlink(_key(name), _seal_key(name))


def _run_id(redis: Redis) -> str:
    """Another one after each start of Redis: what it has in memory then may be older than what it was told."""
    return str(redis.info("server")["run_id"])


def _packed(answer: Answer) -> list[Any]:
    return [
        answer.delivery_id,
        answer.stage,
        answer.kind,
        answer.code,
        answer.reply,
        answer.enhanced_code,
        answer.at.timestamp(),
    ]


def _unpacked(fields: list[Any]) -> Answer:
    delivery_id, stage, kind, code, reply, enhanced_code, at = fields
    return Answer(
        delivery_id, Stage(stage), Reply(kind), code, reply, enhanced_code, at=datetime.fromtimestamp(at, UTC)
    )
