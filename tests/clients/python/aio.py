"""The scenario of the README with aiokafka: `aio.py BOOTSTRAP PREFIX`."""

import asyncio
import sys

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import CommitFailedError, IllegalStateError

from scenario import PARTITIONS, RECORDS, Patience, expect, ok, values

BOOTSTRAP, PREFIX = sys.argv[1:3]
EVENTS = PREFIX + "-events"
PLACES = [TopicPartition(EVENTS, p) for p in range(PARTITIONS)]


def producer(name=None):
    transactional_id = name and f"{PREFIX}-{name}"
    return AIOKafkaProducer(bootstrap_servers=BOOTSTRAP, transactional_id=transactional_id)


def consumer(*topics, group=None, isolation="read_committed"):
    return AIOKafkaConsumer(
        *topics,
        bootstrap_servers=BOOTSTRAP,
        group_id=group and f"{PREFIX}-{group}",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level=isolation,
    )


async def poll(reader):
    """The next records, if any."""
    found = await reader.getmany(timeout_ms=100)
    return [record for records in found.values() for record in records]


async def send(writer, kind):
    for value in values(kind):
        await writer.send(EVENTS, value.encode(), value.encode())
    await writer.flush()


async def commit(kind):
    async with producer("writer") as writer:
        await writer.begin_transaction()
        await send(writer, kind)
        await writer.commit_transaction()
    ok("commit", f"{RECORDS} records, {kind}")


async def abort():
    async with producer("writer") as writer:
        await writer.begin_transaction()
        await send(writer, "aborted")
        await writer.abort_transaction()
    ok("abort", f"{RECORDS} records")


async def read_all(isolation):
    """What the log has, to its end."""
    async with consumer(isolation=isolation) as reader:
        reader.assign(PLACES)
        await reader.seek_to_beginning()
        ends = await reader.end_offsets(PLACES)
        read, patience = [], Patience("the end of the log")
        while patience.left():
            positions = [(await reader.position(place), ends[place]) for place in PLACES]
            if all(position >= end for position, end in positions):
                return sorted(read)
            read += [record.value.decode() for record in await poll(reader)]


async def isolation():
    expect("read_committed", values("before", "after"), await read_all("read_committed"))
    ok("read_committed", f"{2 * RECORDS} records, none of the aborted")
    every = values("before", "aborted", "after")
    expect("read_uncommitted", every, await read_all("read_uncommitted"))
    ok("read_uncommitted", f"{3 * RECORDS} records")


async def member(seen, size):
    async with consumer(EVENTS, group="group") as reader:
        patience = Patience("all records in the group")
        while not (len(seen) >= size and reader.assignment()) and patience.left():
            seen |= {record.value.decode() for record in await poll(reader)}
            try:
                await reader.commit()
            except (CommitFailedError, IllegalStateError):
                pass  # A rebalance came in between; what is read again is the same.


async def group():
    expected, seen = values("before", "after"), set()
    await asyncio.gather(*(member(seen, len(expected)) for _ in range(2)))
    expect("group", expected, sorted(seen))
    await commit("late")
    # Who comes after them goes on where they ended.
    async with consumer(EVENTS, group="group") as reader:
        late, patience = [], Patience("the late records")
        while len(late) < RECORDS and patience.left():
            late += [record.value.decode() for record in await poll(reader)]
        await reader.commit()
    expect("group", values("late"), sorted(late))
    ok("group", "two members, and one that goes on")


async def stored(reader):
    found = {place: await reader.committed(place) for place in PLACES}
    return {place: offset for place, offset in found.items() if offset is not None}


async def offsets():
    """Offsets in a transaction: an aborted one leaves none."""
    async with consumer(EVENTS, group="eos") as reader, producer("eos") as writer:
        read, patience = {}, Patience("records to process")
        while len(read) < PARTITIONS and patience.left():
            for record in await poll(reader):
                read[TopicPartition(EVENTS, record.partition)] = record.offset + 1
        for commits in (False, True):
            await writer.begin_transaction()
            await writer.send_offsets_to_transaction(read, f"{PREFIX}-eos")
            await (writer.commit_transaction() if commits else writer.abort_transaction())
            expected, patience = read if commits else {}, Patience("the offsets")
            # aiokafka can't ask for stable offsets, and the markers may be on their way.
            while await stored(reader) != expected and patience.left():
                pass
    ok("offsets", "with the transaction, or not at all")


async def config(admin, topic):
    resource = ConfigResource(ConfigResourceType.TOPIC, topic)
    [response] = await admin.describe_configs([resource])
    [(code, _, _, _, entries)] = response.resources
    expect("describe", 0, code)
    return {name: value for name, value, *_ in entries}["retention.ms"]


async def await_partitions(admin, topic, count):
    patience, found = Patience(f"{topic} with {count} partitions"), -1
    while found != count and patience.left():
        if topic not in await admin.list_topics():
            found = 0
            continue
        [described] = await admin.describe_topics([topic])
        found = len(described["partitions"])


async def administration(admin):
    await admin.create_topics([NewTopic(EVENTS, PARTITIONS, 1)])
    topic, configs = PREFIX + "-admin", {"retention.ms": "3600000"}
    await admin.create_topics([NewTopic(topic, 1, 1, topic_configs=configs)])
    await await_partitions(admin, topic, 1)
    expect("administration", "3600000", await config(admin, topic))
    longer = ConfigResource(ConfigResourceType.TOPIC, topic, {"retention.ms": "7200000"})
    [altered] = await admin.alter_configs([longer])
    expect("administration", 0, altered.resources[0][0])
    patience = Patience("the altered config")
    while await config(admin, topic) != "7200000" and patience.left():
        await asyncio.sleep(0.01)
    await admin.create_partitions({topic: NewPartitions(3)})
    await await_partitions(admin, topic, 3)
    await delete_records(admin, TopicPartition(topic, 2))
    await admin.delete_topics([topic])
    await await_partitions(admin, topic, 0)
    cluster = await admin.describe_cluster()
    expect("administration", 1, len(cluster["brokers"]))
    ok("administration", "create, describe, alter, add partitions, delete")


async def delete_records(admin, place):
    async with producer() as plain:
        for _ in range(3):
            await plain.send_and_wait(place.topic, b"v", partition=place.partition)
    await admin.delete_records({place: RecordsToDelete(2)})
    async with consumer() as reader:
        starts = await reader.beginning_offsets([place])
        ends = await reader.end_offsets([place])
    expect("administration", [2, 3], [starts[place], ends[place]])


async def groups(admin):
    """aiokafka can't delete a group."""
    name = PREFIX + "-group"
    listed = [group[0] for group in await admin.list_consumer_groups()]
    expect("groups", True, name in listed)
    [described] = await admin.describe_consumer_groups([name])
    expect("groups", (0, name, "Empty"), described.groups[0][:3])
    stored = await admin.list_consumer_group_offsets(name)
    expect("groups", PARTITIONS, len(stored))
    ok("groups", "list, describe, offsets")


async def main():
    admin = AIOKafkaAdminClient(bootstrap_servers=BOOTSTRAP)
    await admin.start()
    await administration(admin)
    await commit("before")
    await abort()
    await commit("after")
    await isolation()
    await group()
    await offsets()
    await groups(admin)
    await admin.close()


asyncio.run(main())
