"""The scenario of the README with confluent-kafka: `confluent.py BOOTSTRAP PREFIX`."""

import sys
import threading
import time

from confluent_kafka import (
    Consumer,
    ConsumerGroupTopicPartitions,
    IsolationLevel,
    KafkaError,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

from scenario import PARTITIONS, RECORDS, Patience, expect, ok, values

BOOTSTRAP, PREFIX = sys.argv[1:3]
EVENTS = PREFIX + "-events"
SERVERS = {"bootstrap.servers": BOOTSTRAP}
ADMIN = AdminClient(SERVERS)


def producer(name):
    made = Producer({**SERVERS, "transactional.id": f"{PREFIX}-{name}"})
    made.init_transactions()
    return made


def consumer(group, isolation="read_committed"):
    settings = {
        "group.id": f"{PREFIX}-{group}",
        "enable.auto.commit": False,
        "auto.offset.reset": "earliest",
        "isolation.level": isolation,
        "enable.partition.eof": True,
    }
    return Consumer({**SERVERS, **settings})


def send(to, kind):
    failed = []
    for value in values(kind):
        to.produce(EVENTS, value, value, on_delivery=lambda e, _: e and failed.append(e))
    expect("produce", 0, to.flush(60))
    expect("produce", [], failed)


def commit(kind):
    writer = producer("writer")
    writer.begin_transaction()
    send(writer, kind)
    writer.commit_transaction()
    ok("commit", f"{RECORDS} records, {kind}")


def abort():
    writer = producer("writer")
    writer.begin_transaction()
    send(writer, "aborted")
    writer.abort_transaction()
    ok("abort", f"{RECORDS} records")


def poll(reader):
    """A record, or the number of a partition that is read to its end, or nothing."""
    message = reader.poll(0.1)
    if message is None:
        return None, None
    if message.error() is None:
        return message, None
    expect("poll", KafkaError._PARTITION_EOF, message.error().code())
    return None, message.partition()


def read_all(isolation):
    """What the log has, to its end."""
    reader = consumer("reader", isolation)
    reader.assign([TopicPartition(EVENTS, p, 0) for p in range(PARTITIONS)])
    read, ended, patience = [], set(), Patience("the end of the log")
    while len(ended) < PARTITIONS and patience.left():
        message, end = poll(reader)
        if message:
            read.append(message.value().decode())
        elif end is not None:
            ended.add(end)
    reader.close()
    return sorted(read)


def isolation():
    expect("read_committed", values("before", "after"), read_all("read_committed"))
    ok("read_committed", f"{2 * RECORDS} records, none of the aborted")
    every = values("before", "aborted", "after")
    expect("read_uncommitted", every, read_all("read_uncommitted"))
    ok("read_uncommitted", f"{3 * RECORDS} records")


def member(seen, size):
    reader = consumer("group")
    reader.subscribe([EVENTS])
    patience = Patience("all records in the group")
    while not (len(seen) >= size and reader.assignment()) and patience.left():
        message, _ = poll(reader)
        if message:
            seen.add(message.value().decode())
            reader.commit(message, asynchronous=False)
    reader.close()


def group():
    expected, seen = values("before", "after"), set()
    members = [
        threading.Thread(target=member, args=(seen, len(expected))) for _ in range(2)
    ]
    for thread in members:
        thread.start()
    for thread in members:
        thread.join()
    expect("group", expected, sorted(seen))
    commit("late")
    # Who comes after them goes on where they ended.
    reader = consumer("group")
    reader.subscribe([EVENTS])
    late, patience = [], Patience("the late records")
    while len(late) < RECORDS and patience.left():
        message, _ = poll(reader)
        if message:
            late.append(message.value().decode())
    reader.commit(asynchronous=False)
    reader.close()
    expect("group", values("late"), sorted(late))
    ok("group", "two members, and one that goes on")


def offsets():
    """Offsets in a transaction: an aborted one leaves none."""
    reader, writer = consumer("eos"), producer("eos")
    reader.subscribe([EVENTS])
    read, patience = {}, Patience("records to process")
    while len(read) < PARTITIONS and patience.left():
        message, _ = poll(reader)
        if message:
            read[message.partition()] = message.offset() + 1
    for commits in (False, True):
        writer.begin_transaction()
        positions = [TopicPartition(EVENTS, p, offset) for p, offset in read.items()]
        writer.send_offsets_to_transaction(positions, reader.consumer_group_metadata())
        writer.commit_transaction() if commits else writer.abort_transaction()
        stored = reader.committed([TopicPartition(EVENTS, p) for p in read], 60)
        got = {at.partition: at.offset for at in stored if at.offset >= 0}
        expect("offsets", read if commits else {}, got)
    reader.close()
    ok("offsets", "with the transaction, or not at all")


def done(futures):
    """The results, or the first failure."""
    return [future.result(60) for future in futures.values()]


def config(topic):
    [described] = done(ADMIN.describe_configs([ConfigResource(ResourceType.TOPIC, topic)]))
    return described["retention.ms"].value


def await_partitions(topic, count):
    patience, found = Patience(f"{topic} with {count} partitions"), None
    while found != count and patience.left():
        described = ADMIN.list_topics(timeout=60).topics.get(topic)
        found = described and len(described.partitions)


def administration():
    done(ADMIN.create_topics([NewTopic(EVENTS, PARTITIONS, 1)]))
    topic = PREFIX + "-admin"
    done(ADMIN.create_topics([NewTopic(topic, 1, 1, config={"retention.ms": "3600000"})]))
    await_partitions(topic, 1)
    expect("administration", "3600000", config(topic))
    longer = ConfigEntry(
        "retention.ms", "7200000", incremental_operation=AlterConfigOpType.SET
    )
    altered = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[longer])
    done(ADMIN.incremental_alter_configs([altered]))
    patience = Patience("the altered config")
    while config(topic) != "7200000" and patience.left():
        time.sleep(0.01)
    done(ADMIN.create_partitions([NewPartitions(topic, 3)]))
    await_partitions(topic, 3)
    delete_records(topic)
    done(ADMIN.delete_topics([topic]))
    await_partitions(topic, None)
    expect("administration", 1, len(ADMIN.describe_cluster().result(60).nodes))
    ok("administration", "create, describe, alter, add partitions, delete")


def delete_records(topic):
    plain = Producer(SERVERS)
    for _ in range(3):
        plain.produce(topic, "v", partition=2)
    expect("administration", 0, plain.flush(60))
    done(ADMIN.delete_records([TopicPartition(topic, 2, 2)]))
    found = []
    for spec in (OffsetSpec.earliest(), OffsetSpec.latest()):
        partition = TopicPartition(topic, 2)
        level = IsolationLevel.READ_COMMITTED
        [result] = done(ADMIN.list_offsets({partition: spec}, isolation_level=level))
        found.append(result.offset)
    expect("administration", [2, 3], found)


def listed():
    return [found.group_id for found in ADMIN.list_consumer_groups().result(60).valid]


def groups():
    name = PREFIX + "-group"
    expect("groups", True, name in listed())
    [described] = done(ADMIN.describe_consumer_groups([name]))
    expect("groups", "EMPTY", described.state.name)
    [stored] = done(ADMIN.list_consumer_group_offsets([ConsumerGroupTopicPartitions(name)]))
    expect("groups", PARTITIONS, len(stored.topic_partitions))
    done(ADMIN.delete_consumer_groups([name]))
    expect("groups", False, name in listed())
    ok("groups", "list, describe, offsets, delete")


administration()
commit("before")
abort()
commit("after")
isolation()
group()
offsets()
groups()
