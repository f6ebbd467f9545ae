// The scenario of the README with kafkajs: `client.js BOOTSTRAP PREFIX`.
"use strict";

const { isDeepStrictEqual } = require("node:util");
const { setTimeout: sleep } = require("node:timers/promises");
const { ConfigResourceTypes, Kafka, Partitioners, logLevel } = require("kafkajs");

const [bootstrap, prefix] = process.argv.slice(2);
const PARTITIONS = 3;
const RECORDS = 30;
const PATIENCE_MS = 60_000;
const events = `${prefix}-events`;

const kafka = new Kafka({
  clientId: "kafkajs",
  brokers: [bootstrap],
  logLevel: logLevel.NOTHING,
});
const admin = kafka.admin();

const ok = (step, detail) => console.log(`ok ${step}: ${detail}`);

function expect(step, expected, got) {
  if (!isDeepStrictEqual(expected, got)) {
    const text = (value) => JSON.stringify(value);
    throw new Error(`MISMATCH in ${step}: not ${text(expected)} but ${text(got)}`);
  }
}

async function until(what, condition) {
  for (const end = Date.now() + PATIENCE_MS; !(await condition()); await sleep(10)) {
    if (Date.now() > end) {
      throw new Error(`MISMATCH: ${what}: not within ${PATIENCE_MS} ms`);
    }
  }
}

const values = (...kinds) =>
  kinds.flatMap((kind) => Array.from({ length: RECORDS }, (_, n) => `${kind}-${n}`)).sort();

async function producer(name) {
  const made = kafka.producer({
    createPartitioner: Partitioners.DefaultPartitioner,
    ...(name && { transactionalId: `${prefix}-${name}`, maxInFlightRequests: 1, idempotent: true }),
  });
  await made.connect();
  return made;
}

async function transaction(kind, commits) {
  const writer = await producer("writer");
  const transaction = await writer.transaction();
  const messages = values(kind).map((value) => ({ key: value, value }));
  await transaction.send({ topic: events, messages });
  await (commits ? transaction.commit() : transaction.abort());
  await writer.disconnect();
}

async function commit(kind) {
  await transaction(kind, true);
  ok("commit", `${RECORDS} records, ${kind}`);
}

async function abort() {
  await transaction("aborted", false);
  ok("abort", `${RECORDS} records`);
}

// A member of a group; `each` gets a partition's records.
async function member(group, readUncommitted, each) {
  const reader = kafka.consumer({
    groupId: `${prefix}-${group}`,
    readUncommitted,
    maxWaitTimeInMs: 100,
    heartbeatInterval: 300,
  });
  await reader.connect();
  await reader.subscribe({ topics: [events], fromBeginning: true });
  let joined = false;
  reader.on(reader.events.GROUP_JOIN, () => (joined = true));
  await reader.run({
    autoCommit: false,
    eachBatch: ({ batch }) => each(batch, reader),
  });
  await until("a place in the group", () => joined);
  return reader;
}

const valuesOf = (batch) => batch.messages.map((message) => message.value.toString());

// What the log has, to its end: kafkajs has no reader without a group.
async function readAll(group, readUncommitted) {
  const ends = new Map();
  for (const { partition, high } of await admin.fetchTopicOffsets(events)) {
    ends.set(partition, BigInt(high));
  }
  const read = [];
  const reader = await member(group, readUncommitted, async (batch) => {
    read.push(...valuesOf(batch));
    // A marker is the log's last record, and no message.
    if (BigInt(batch.lastOffset()) >= ends.get(batch.partition) - 2n) {
      ends.delete(batch.partition);
    }
  });
  await until("the end of the log", () => ends.size === 0);
  await reader.disconnect();
  return read.sort();
}

async function isolation() {
  expect("read_committed", values("before", "after"), await readAll("committed", false));
  ok("read_committed", `${2 * RECORDS} records, none of the aborted`);
  const every = values("before", "aborted", "after");
  expect("read_uncommitted", every, await readAll("uncommitted", true));
  ok("read_uncommitted", `${3 * RECORDS} records`);
}

async function commitBatch(batch, reader) {
  const offset = (BigInt(batch.lastOffset()) + 1n).toString();
  await reader.commitOffsets([{ topic: events, partition: batch.partition, offset }]);
}

async function group() {
  const seen = new Set();
  const each = async (batch, reader) => {
    valuesOf(batch).forEach((value) => seen.add(value));
    await commitBatch(batch, reader);
  };
  const members = await Promise.all([member("group", false, each), member("group", false, each)]);
  const expected = values("before", "after");
  await until("all records in the group", () => seen.size >= expected.length);
  for (const reader of members) {
    await reader.disconnect();
  }
  expect("group", expected, [...seen].sort());
  await commit("late");
  // Who comes after them goes on where they ended.
  const late = [];
  const reader = await member("group", false, async (batch, reader) => {
    late.push(...valuesOf(batch));
    await commitBatch(batch, reader);
  });
  await until("the late records", () => late.length >= RECORDS);
  await reader.disconnect();
  expect("group", values("late"), late.sort());
  ok("group", "two members, and one that goes on");
}

async function committed(groupId) {
  const [{ partitions }] = await admin.fetchOffsets({ groupId, topics: [events] });
  const stored = partitions.filter(({ offset }) => offset !== "-1");
  return Object.fromEntries(stored.map(({ partition, offset }) => [partition, offset]));
}

// Offsets in a transaction: an aborted one leaves none.
async function offsets() {
  const consumerGroupId = `${prefix}-eos`;
  const read = {};
  const reader = await member("eos", false, async (batch) => {
    read[batch.partition] = (BigInt(batch.lastOffset()) + 1n).toString();
  });
  await until("records to process", () => Object.keys(read).length === PARTITIONS);
  await reader.disconnect();
  const writer = await producer("eos");
  const partitions = Object.entries(read).map(([partition, offset]) => ({
    partition: Number(partition),
    offset,
  }));
  for (const commits of [false, true]) {
    const transaction = await writer.transaction();
    await transaction.sendOffsets({ consumerGroupId, topics: [{ topic: events, partitions }] });
    await (commits ? transaction.commit() : transaction.abort());
    // kafkajs can't ask for stable offsets, and the markers may be on their way.
    const expected = commits ? read : {};
    await until("the offsets", async () =>
      isDeepStrictEqual(expected, await committed(consumerGroupId)),
    );
  }
  await writer.disconnect();
  ok("offsets", "with the transaction, or not at all");
}

async function retention(topic) {
  const resource = { type: ConfigResourceTypes.TOPIC, name: topic, configNames: ["retention.ms"] };
  const described = await admin.describeConfigs({ includeSynonyms: false, resources: [resource] });
  return described.resources[0].configEntries[0].configValue;
}

async function awaitPartitions(topic, count) {
  await until(`${topic} with ${count} partitions`, async () => {
    if (!(await admin.listTopics()).includes(topic)) {
      return count === 0;
    }
    const { topics } = await admin.fetchTopicMetadata({ topics: [topic] });
    return topics[0].partitions.length === count;
  });
}

async function administration() {
  const topic = `${prefix}-admin`;
  const configEntries = [{ name: "retention.ms", value: "3600000" }];
  await admin.createTopics({
    topics: [
      { topic: events, numPartitions: PARTITIONS },
      { topic, numPartitions: 1, configEntries },
    ],
  });
  await awaitPartitions(topic, 1);
  expect("administration", "3600000", await retention(topic));
  const longer = [{ name: "retention.ms", value: "7200000" }];
  const resource = { type: ConfigResourceTypes.TOPIC, name: topic, configEntries: longer };
  await admin.alterConfigs({ validateOnly: false, resources: [resource] });
  await until("the altered config", async () => (await retention(topic)) === "7200000");
  await admin.createPartitions({ topicPartitions: [{ topic, count: 3 }] });
  await awaitPartitions(topic, 3);
  await deleteRecords(topic);
  await admin.deleteTopics({ topics: [topic] });
  await awaitPartitions(topic, 0);
  expect("administration", 1, (await admin.describeCluster()).brokers.length);
  ok("administration", "create, describe, alter, add partitions, delete");
}

async function deleteRecords(topic) {
  const plain = await producer();
  const messages = ["1", "2", "3"].map((value) => ({ value, partition: 2 }));
  await plain.send({ topic, messages });
  await plain.disconnect();
  await admin.deleteTopicRecords({ topic, partitions: [{ partition: 2, offset: "2" }] });
  const found = await admin.fetchTopicOffsets(topic);
  const { low, high } = found.find(({ partition }) => partition === 2);
  expect("administration", ["2", "3"], [low, high]);
}

async function groups() {
  const name = `${prefix}-group`;
  const listed = async () =>
    (await admin.listGroups()).groups.some(({ groupId }) => groupId === name);
  expect("groups", true, await listed());
  const described = await admin.describeGroups([name]);
  expect("groups", "Empty", described.groups[0].state);
  expect("groups", PARTITIONS, Object.keys(await committed(name)).length);
  await admin.deleteGroups([name]);
  expect("groups", false, await listed());
  ok("groups", "list, describe, offsets, delete");
}

async function main() {
  await admin.connect();
  await administration();
  await commit("before");
  await abort();
  await commit("after");
  await isolation();
  await group();
  await offsets();
  await groups();
  await admin.disconnect();
}

main().catch((failure) => {
  console.error(failure);
  process.exit(1);
});
