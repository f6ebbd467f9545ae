import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.time.Duration;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.kstream.Materialized;

/**
 * Running totals per key on Kafka Streams, exactly once, with a store on disk:
 * {@code StreamsApp BOOTSTRAP NAME INPUT OUTPUT STATE_FOLDER}.
 */
public final class StreamsApp {
  private static final ObjectMapper JSON = new ObjectMapper();

  private StreamsApp() {}

  public static void main(String[] arguments) {
    StreamsBuilder builder = new StreamsBuilder();
    builder.<String, String>stream(arguments[2])
        .groupByKey()
        .aggregate(() -> "{\"count\":0,\"sum\":0}", StreamsApp::add, Materialized.as("totals"))
        .toStream()
        .to(arguments[3]);
    KafkaStreams streams = new KafkaStreams(builder.build(), properties(arguments));
    streams.setUncaughtExceptionHandler(failure -> {
      failure.printStackTrace();
      return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
    });
    streams.setStateListener((now, before) -> System.out.println("state " + now));
    Runtime.getRuntime()
        .addShutdownHook(new Thread(() -> streams.close(Duration.ofSeconds(20))));
    streams.start();
  }

  private static Properties properties(String[] arguments) {
    Properties properties = new Properties();
    properties.putAll(Map.of(
        StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, arguments[0],
        StreamsConfig.APPLICATION_ID_CONFIG, arguments[1],
        StreamsConfig.STATE_DIR_CONFIG, arguments[4],
        StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2,
        StreamsConfig.DEFAULT_KEY_SERDE_CLASS_CONFIG, Serdes.StringSerde.class,
        StreamsConfig.DEFAULT_VALUE_SERDE_CLASS_CONFIG, Serdes.StringSerde.class,
        // Each update is an output: none is folded into the next one.
        StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 0L,
        // A member that was killed is missed as soon as Kafka allows.
        "session.timeout.ms", 6_000,
        "heartbeat.interval.ms", 500,
        "auto.offset.reset", "earliest"));
    return properties;
  }

  private static String add(String id, String update, String total) {
    try {
      JsonNode change = JSON.readTree(update);
      JsonNode before = JSON.readTree(total);
      long count = before.get("count").asLong() + 1;
      long sum = before.get("sum").asLong() + change.get("amount").asLong();
      return JSON.writeValueAsString(JSON.createObjectNode()
          .put("id", id)
          .put("count", count)
          .put("sum", sum)
          .put("ts", change.get("ts").asLong()));
    } catch (JsonProcessingException failure) {
      throw new IllegalArgumentException(failure);
    }
  }
}
