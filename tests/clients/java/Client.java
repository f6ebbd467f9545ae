import static java.util.stream.Collectors.toCollection;

import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.TreeSet;
import java.util.concurrent.Callable;
import java.util.concurrent.ConcurrentSkipListSet;
import java.util.concurrent.ExecutionException;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/** The scenario of the README with Apache Kafka's own client: {@code Client BOOTSTRAP PREFIX}. */
public final class Client {
  private static final int PARTITIONS = 3;
  private static final int RECORDS = 30;
  private static final Duration PATIENCE = Duration.ofSeconds(60);
  private static final Duration POLL = Duration.ofMillis(100);

  private final String bootstrap;
  private final String events;
  private final String prefix;
  private final Admin admin;

  private Client(String bootstrap, String prefix) {
    this.bootstrap = bootstrap;
    this.prefix = prefix;
    this.events = prefix + "-events";
    this.admin = Admin.create(properties());
  }

  public static void main(String[] arguments) throws Exception {
    Client client = new Client(arguments[0], arguments[1]);
    try (client.admin) {
      client.administration();
      client.commit("before");
      client.abort();
      client.commit("after");
      client.isolation();
      client.group();
      client.offsets();
      client.groups();
    }
  }

  private Properties properties() {
    Properties properties = new Properties();
    properties.put("bootstrap.servers", bootstrap);
    properties.put("key.serializer", StringSerializer.class);
    properties.put("value.serializer", StringSerializer.class);
    properties.put("key.deserializer", StringDeserializer.class);
    properties.put("value.deserializer", StringDeserializer.class);
    return properties;
  }

  private KafkaProducer<String, String> producer(String id) {
    Properties properties = properties();
    properties.put("transactional.id", prefix + "-" + id);
    KafkaProducer<String, String> producer = new KafkaProducer<>(properties);
    producer.initTransactions();
    return producer;
  }

  private KafkaConsumer<String, String> consumer(String group, String isolation) {
    Properties properties = properties();
    properties.put("group.id", prefix + "-" + group);
    properties.put("enable.auto.commit", "false");
    properties.put("auto.offset.reset", "earliest");
    properties.put("isolation.level", isolation);
    return new KafkaConsumer<>(properties);
  }

  private static TreeSet<String> values(String... kinds) {
    return Stream.of(kinds)
        .flatMap(kind -> IntStream.range(0, RECORDS).mapToObj(n -> kind + "-" + n))
        .collect(toCollection(TreeSet::new));
  }

  private void send(KafkaProducer<String, String> producer, String kind) {
    for (String value : values(kind)) {
      producer.send(new ProducerRecord<>(events, value, value));
    }
    producer.flush();
  }

  private void commit(String kind) {
    try (KafkaProducer<String, String> producer = producer("writer")) {
      producer.beginTransaction();
      send(producer, kind);
      producer.commitTransaction();
    }
    ok("commit", RECORDS + " records, " + kind);
  }

  private void abort() {
    try (KafkaProducer<String, String> producer = producer("writer")) {
      producer.beginTransaction();
      send(producer, "aborted");
      producer.abortTransaction();
    }
    ok("abort", RECORDS + " records");
  }

  /** What the log has, to its end. */
  private List<String> readAll(String isolation) {
    List<String> read = new ArrayList<>();
    try (KafkaConsumer<String, String> consumer = consumer("reader", isolation)) {
      List<TopicPartition> all =
          IntStream.range(0, PARTITIONS).mapToObj(p -> new TopicPartition(events, p)).toList();
      consumer.assign(all);
      consumer.seekToBeginning(all);
      Map<TopicPartition, Long> ends = consumer.endOffsets(all);
      await("the end of the log", () -> {
        consumer.poll(POLL).forEach(record -> read.add(record.value()));
        return all.stream().allMatch(p -> consumer.position(p) >= ends.get(p));
      });
    }
    return read;
  }

  private void isolation() {
    expectEach("read_committed", values("before", "after"), readAll("read_committed"));
    ok("read_committed", 2 * RECORDS + " records, none of the aborted");
    expectEach(
        "read_uncommitted", values("before", "aborted", "after"), readAll("read_uncommitted"));
    ok("read_uncommitted", 3 * RECORDS + " records");
  }

  private void group() throws Exception {
    ConcurrentSkipListSet<String> seen = new ConcurrentSkipListSet<>();
    TreeSet<String> expected = values("before", "after");
    List<Thread> members = new ArrayList<>();
    List<Throwable> failures = new ArrayList<>();
    for (int number = 0; number < 2; number++) {
      Thread member = new Thread(() -> read(seen, expected.size()));
      member.setUncaughtExceptionHandler((thread, failure) -> failures.add(failure));
      members.add(member);
      member.start();
    }
    for (Thread member : members) {
      member.join();
    }
    if (!failures.isEmpty()) {
      throw mismatch("group", "two members that read", failures);
    }
    expect("group", expected, seen);
    commit("late");
    // Who comes after them goes on where they ended.
    List<String> late = new ArrayList<>();
    try (KafkaConsumer<String, String> consumer = consumer("group", "read_committed")) {
      consumer.subscribe(List.of(events));
      await("the late records", () -> {
        consumer.poll(POLL).forEach(record -> late.add(record.value()));
        return late.size() >= RECORDS;
      });
      consumer.commitSync();
    }
    expectEach("group", values("late"), late);
    ok("group", "two members, and one that goes on");
  }

  private void read(ConcurrentSkipListSet<String> seen, int size) {
    try (KafkaConsumer<String, String> consumer = consumer("group", "read_committed")) {
      consumer.subscribe(List.of(events));
      await("all records in the group", () -> {
        for (ConsumerRecord<String, String> record : consumer.poll(POLL)) {
          seen.add(record.value());
        }
        consumer.commitSync();
        return seen.size() >= size && !consumer.assignment().isEmpty();
      });
    }
  }

  /** Offsets in a transaction: an aborted one leaves none. */
  private void offsets() {
    try (KafkaConsumer<String, String> consumer = consumer("eos", "read_committed");
        KafkaProducer<String, String> producer = producer("eos")) {
      consumer.subscribe(List.of(events));
      Map<TopicPartition, OffsetAndMetadata> read = new HashMap<>();
      await("records to process", () -> {
        consumer.poll(POLL).forEach(record ->
            read.put(
                new TopicPartition(events, record.partition()),
                new OffsetAndMetadata(record.offset() + 1)));
        return read.size() == PARTITIONS;
      });
      for (boolean commits : new boolean[] {false, true}) {
        producer.beginTransaction();
        producer.sendOffsetsToTransaction(read, consumer.groupMetadata());
        if (commits) {
          producer.commitTransaction();
        } else {
          producer.abortTransaction();
        }
        Map<TopicPartition, OffsetAndMetadata> committed = consumer.committed(read.keySet());
        committed.values().removeIf(java.util.Objects::isNull);
        expect("offsets", commits ? offsetsOf(read) : Map.of(), offsetsOf(committed));
      }
    }
    ok("offsets", "with the transaction, or not at all");
  }

  private static Map<TopicPartition, Long> offsetsOf(Map<TopicPartition, OffsetAndMetadata> of) {
    Map<TopicPartition, Long> offsets = new HashMap<>();
    of.forEach((partition, offset) -> offsets.put(partition, offset.offset()));
    return offsets;
  }

  private void administration() throws Exception {
    admin.createTopics(List.of(new NewTopic(events, PARTITIONS, (short) 1))).all().get();
    String topic = prefix + "-admin";
    NewTopic asked = new NewTopic(topic, 1, (short) 1).configs(Map.of("retention.ms", "3600000"));
    admin.createTopics(List.of(asked)).all().get();
    awaitPartitions(topic, 1);
    expect("administration", "3600000", config(topic, "retention.ms"));
    ConfigEntry longer = new ConfigEntry("retention.ms", "7200000");
    ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
    AlterConfigOp set = new AlterConfigOp(longer, AlterConfigOp.OpType.SET);
    admin.incrementalAlterConfigs(Map.of(resource, List.of(set))).all().get();
    await("the altered config", () -> config(topic, "retention.ms").equals("7200000"));
    admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(3))).all().get();
    awaitPartitions(topic, 3);
    deleteRecords(new TopicPartition(topic, 2));
    admin.deleteTopics(List.of(topic)).all().get();
    await("the topic's end", () -> !admin.listTopics().names().get().contains(topic));
    int nodes = admin.describeCluster().nodes().get().size();
    expect("administration", 1, nodes);
    ok("administration", "create, describe, alter, add partitions, delete");
  }

  private void deleteRecords(TopicPartition partition) throws Exception {
    try (KafkaProducer<String, String> producer = new KafkaProducer<>(properties())) {
      for (int n = 0; n < 3; n++) {
        producer.send(new ProducerRecord<>(partition.topic(), partition.partition(), "k", "v"));
      }
      producer.flush();
    }
    admin.deleteRecords(Map.of(partition, RecordsToDelete.beforeOffset(2))).all().get();
    long first = offset(partition, OffsetSpec.earliest());
    long end = offset(partition, OffsetSpec.latest());
    expect("administration", List.of(2L, 3L), List.of(first, end));
  }

  private long offset(TopicPartition partition, OffsetSpec spec) throws Exception {
    return admin.listOffsets(Map.of(partition, spec)).partitionResult(partition).get().offset();
  }

  private void groups() throws Exception {
    String group = prefix + "-group";
    boolean listed =
        admin.listGroups().all().get().stream().anyMatch(found -> found.groupId().equals(group));
    expect("groups", true, listed);
    String state =
        admin.describeConsumerGroups(List.of(group)).all().get().get(group).groupState().toString();
    expect("groups", "Empty", state);
    int partitions =
        admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get().size();
    expect("groups", PARTITIONS, partitions);
    admin.deleteConsumerGroups(List.of(group)).all().get();
    boolean left =
        admin.listGroups().all().get().stream().anyMatch(found -> found.groupId().equals(group));
    expect("groups", false, left);
    ok("groups", "list, describe, offsets, delete");
  }

  private String config(String topic, String name) throws Exception {
    ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
    return admin.describeConfigs(List.of(resource)).all().get().get(resource).get(name).value();
  }

  private void awaitPartitions(String topic, int count) {
    await(topic + " with " + count + " partitions", () -> {
      try {
        return admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic)
                .partitions().size() == count;
      } catch (ExecutionException failure) {
        // Metadata may be behind the controller.
        if (failure.getCause() instanceof UnknownTopicOrPartitionException) {
          return false;
        }
        throw failure;
      }
    });
  }

  private static void await(String what, Callable<Boolean> condition) {
    long deadline = System.nanoTime() + PATIENCE.toNanos();
    try {
      while (!condition.call()) {
        if (System.nanoTime() > deadline) {
          throw mismatch("patience", what, "not within " + PATIENCE);
        }
        Thread.sleep(10);
      }
    } catch (RuntimeException failure) {
      throw failure;
    } catch (Exception failure) {
      throw new IllegalStateException(what, failure);
    }
  }

  private static void ok(String step, String detail) {
    System.out.println("ok " + step + ": " + detail);
  }

  private static void expect(String step, Object expected, Object got) {
    if (!expected.equals(got)) {
      throw mismatch(step, expected, got);
    }
  }

  /** Each of them, and each once. */
  private static void expectEach(String step, TreeSet<String> expected, Collection<String> got) {
    expect(step, expected, new TreeSet<>(got));
    expect(step, expected.size(), got.size());
  }

  private static IllegalStateException mismatch(String step, Object expected, Object got) {
    return new IllegalStateException("MISMATCH in " + step + ": not " + expected + " but " + got);
  }
}
