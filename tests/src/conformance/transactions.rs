//! The transaction coordinator: both protocols, states, timeouts.

use anyhow::{Context, Result};
use kafka_protocol::messages::AddPartitionsToTxnRequest;
use kafka_protocol::messages::TopicName;
use kafka_protocol::messages::add_partitions_to_txn_request::{
    AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction,
};

use super::ctx::{Ctx, Producer, code, is_transient, text, wait};
use super::groups::Speaker;
use super::logs::{Committed, LATEST, PRODUCE_V2, Uncommitted};
use super::producers::{TXN_OFFSETS_V2, end_request, init_request};
use super::records::Batch;

super::named!("transactions":
    a_timeout_out_of_range,
    end_without_a_beginning,
    end_twice,
    abort_after_commit,
    commit_after_abort,
    one_after_the_other,
    sequences_go_on_over_transactions,
    produce_before_the_partition_is_added,
    produce_to_another_partition,
    produce_between_transactions,
    a_plain_batch_of_a_transactional_producer,
    another_transactional_id_in_the_request,
    an_unknown_topic_is_added,
    a_partition_is_added_twice,
    nothing_is_added,
    several_are_added_at_once,
    are_verified_for_other_brokers,
    that_take_too_long_are_aborted,
    the_owner_of_one_that_took_too_long,
    the_owner_of_one_that_took_too_long_in_version_2,
    the_time_runs_from_the_first_partition,
    version_2_commits,
    version_2_aborts,
    version_2_an_epoch_for_each,
    version_2_the_old_epoch_is_fenced,
    version_2_end_again_with_the_old_epoch,
    version_2_end_again_the_other_way,
    version_2_end_without_a_beginning,
    version_2_abort_without_a_beginning,
    version_2_to_an_unknown_topic,
    version_2_over_partitions_and_offsets,
    version_2_second_owner,
    version_2_a_sequence_that_goes_on,
    a_topic_is_deleted_under_one,
);

fn start(ctx: &mut Ctx) -> Result<(String, Producer)> {
    Ok((ctx.topic("t", 2)?, ctx.transactional("id")?))
}

fn a_timeout_out_of_range(ctx: &mut Ctx) -> Result<()> {
    for timeout in [-1, 0, 1, 900_000, 900_001, i32::MAX] {
        let id = ctx.name(&format!("id{timeout}"));
        ctx.init(&format!("{timeout} ms"), 4, &init_request(Some(&id), timeout))?;
    }
    Ok(())
}

fn end_without_a_beginning(ctx: &mut Ctx) -> Result<()> {
    let (_, producer) = start(ctx)?;
    ctx.end("commit", &producer, true)?;
    ctx.end("abort", &producer, false)?;
    Ok(())
}

fn end_twice(ctx: &mut Ctx) -> Result<()> {
    for commit in [true, false] {
        let topic = ctx.topic(&format!("t{commit}"), 1)?;
        let producer = ctx.transactional(&format!("id{commit}"))?;
        ctx.begin(&producer, &topic, &[0])?;
        ctx.fill(&topic, 0, &Batch::of(["a"]).by(&producer, 0))?;
        ctx.end("once", &producer, commit)?;
        ctx.settle(&topic, 0)?;
        ctx.end("twice", &producer, commit)?;
        ctx.log("log", &topic, 0)?;
    }
    Ok(())
}

fn other_end(ctx: &mut Ctx, commit: bool) -> Result<()> {
    let (topic, producer) = start(ctx)?;
    ctx.begin(&producer, &topic, &[0])?;
    ctx.fill(&topic, 0, &Batch::of(["a"]).by(&producer, 0))?;
    ctx.end("first", &producer, commit)?;
    ctx.settle(&topic, 0)?;
    ctx.end("then the other way", &producer, !commit)?;
    ctx.log("log", &topic, 0)
}

fn abort_after_commit(ctx: &mut Ctx) -> Result<()> {
    other_end(ctx, true)
}

fn commit_after_abort(ctx: &mut Ctx) -> Result<()> {
    other_end(ctx, false)
}

fn one_after_the_other(ctx: &mut Ctx) -> Result<()> {
    let (topic, producer) = start(ctx)?;
    for (round, commit) in [(0, true), (1, false), (2, true)] {
        ctx.begin(&producer, &topic, &[0])?;
        ctx.produce("produce", &topic, 0, &Batch::of(["a"]).by(&producer, round))?;
        ctx.end("end", &producer, commit)?;
    }
    ctx.settle(&topic, 0)?;
    ctx.read("log", &topic, 0, 0, Committed)
}

fn sequences_go_on_over_transactions(ctx: &mut Ctx) -> Result<()> {
    let (topic, producer) = start(ctx)?;
    for (sequence, label) in [(0, "first"), (0, "from zero again"), (1, "going on")] {
        ctx.begin(&producer, &topic, &[0])?;
        ctx.produce(label, &topic, 0, &Batch::of([label]).by(&producer, sequence))?;
        ctx.end("commit", &producer, true)?;
        ctx.settle(&topic, 0)?;
    }
    ctx.read("log", &topic, 0, 0, Committed)
}

fn produce_before_the_partition_is_added(ctx: &mut Ctx) -> Result<()> {
    let (topic, producer) = start(ctx)?;
    ctx.produce("produce", &topic, 0, &Batch::of(["a"]).by(&producer, 0))?;
    ctx.log("log", &topic, 0)
}

fn produce_to_another_partition(ctx: &mut Ctx) -> Result<()> {
    let (topic, producer) = start(ctx)?;
    ctx.begin(&producer, &topic, &[0])?;
    ctx.produce("partition 1", &topic, 1, &Batch::of(["a"]).by(&producer, 0))?;
    ctx.produce("partition 0", &topic, 0, &Batch::of(["a"]).by(&producer, 0))?;
    Ok(())
}

fn produce_between_transactions(ctx: &mut Ctx) -> Result<()> {
    let (topic, producer) = start(ctx)?;
    ctx.begin(&producer, &topic, &[0])?;
    ctx.produce("within", &topic, 0, &Batch::of(["a"]).by(&producer, 0))?;
    ctx.end("commit", &producer, true)?;
    ctx.settle(&topic, 0)?;
    ctx.produce("after", &topic, 0, &Batch::of(["b"]).by(&producer, 1))?;
    ctx.log("log", &topic, 0)
}

fn a_plain_batch_of_a_transactional_producer(ctx: &mut Ctx) -> Result<()> {
    let (topic, producer) = start(ctx)?;
    let mut plain = Batch::of(["a"]).by(&producer, 0);
    plain.attributes = 0;
    plain.transactional_id = None;
    ctx.produce("no transaction", &topic, 0, &plain)?;
    ctx.begin(&producer, &topic, &[0])?;
    plain.sequence = 1;
    ctx.produce("in a transaction", &topic, 0, &plain)?;
    ctx.read("log", &topic, 0, 0, Committed)
}

fn another_transactional_id_in_the_request(ctx: &mut Ctx) -> Result<()> {
    let (topic, producer) = start(ctx)?;
    let other = ctx.transactional("other")?;
    ctx.begin(&producer, &topic, &[0])?;
    let mut batch = Batch::of(["a"]).by(&producer, 0);
    batch.transactional_id = other.transactional_id;
    ctx.produce("another id", &topic, 0, &batch)?;
    batch.transactional_id = None;
    ctx.produce("no id", &topic, 0, &batch)?;
    ctx.log("log", &topic, 0)
}

fn an_unknown_topic_is_added(ctx: &mut Ctx) -> Result<()> {
    let (topic, producer) = start(ctx)?;
    let nowhere = ctx.name("nowhere");
    let answers = ctx.add_partitions(3, &producer, &nowhere, &[0])?;
    ctx.say_partitions("an unknown topic", &answers);
    let answers = ctx.add_partitions(3, &producer, &topic, &[0, 9])?;
    ctx.say_partitions("an unknown partition beside a known one", &answers);
    ctx.end("commit", &producer, true)?;
    Ok(())
}

fn a_partition_is_added_twice(ctx: &mut Ctx) -> Result<()> {
    let (topic, producer) = start(ctx)?;
    for _ in 0..2 {
        let answers = ctx.add_partitions(3, &producer, &topic, &[0, 1])?;
        ctx.say_partitions("add", &answers);
    }
    ctx.end("commit", &producer, true)?;
    wait("a marker in each", || {
        let ends = [0, 1].map(|p| ctx.offset_at(&topic, p, LATEST, Uncommitted));
        let ends: Result<Vec<_>> = ends.into_iter().collect();
        Ok(ends?.iter().all(|end| end.offset == 1).then_some(()))
    })?;
    ctx.log("log", &topic, 0)
}

fn nothing_is_added(ctx: &mut Ctx) -> Result<()> {
    let (topic, producer) = start(ctx)?;
    let answers = ctx.add_partitions(3, &producer, &topic, &[])?;
    ctx.say_partitions("add", &answers);
    ctx.end("commit", &producer, true)?;
    Ok(())
}

fn batched(topic: &str, producers: &[(&Producer, bool)]) -> AddPartitionsToTxnRequest {
    let transaction = |(producer, verify): &(&Producer, bool)| {
        let topic = AddPartitionsToTxnTopic::default()
            .with_name(TopicName(text(topic)))
            .with_partitions(vec![0]);
        AddPartitionsToTxnTransaction::default()
            .with_transactional_id(text(producer.transactional_id()).into())
            .with_producer_id(producer.id.into())
            .with_producer_epoch(producer.epoch)
            .with_verify_only(*verify)
            .with_topics(vec![topic])
    };
    AddPartitionsToTxnRequest::default()
        .with_transactions(producers.iter().map(transaction).collect())
}

fn say_batched(
    ctx: &mut Ctx,
    label: &str,
    version: i16,
    request: &AddPartitionsToTxnRequest,
) -> Result<()> {
    let response = ctx.call(version, request)?;
    let mut answers: Vec<String> = Vec::new();
    for result in &response.results_by_transaction {
        for partition in result.topic_results.iter().flat_map(|t| &t.results_by_partition) {
            let answer = code(partition.partition_error_code);
            answers.push(format!("{} {answer}", result.transactional_id.as_str()));
        }
    }
    answers.sort();
    ctx.say(format!("{label}: {} [{}]", code(response.error_code), answers.join(", ")));
    Ok(())
}

fn several_are_added_at_once(ctx: &mut Ctx) -> Result<()> {
    let (topic, one) = start(ctx)?;
    let two = ctx.transactional("two")?;
    let request = batched(&topic, &[(&one, false), (&two, false)]);
    for version in [4, 5] {
        say_batched(ctx, &format!("version {version}"), version, &request)?;
    }
    let fenced = two.in_epoch(two.epoch + 1);
    say_batched(ctx, "one of them fenced", 4, &batched(&topic, &[(&one, false), (&fenced, false)]))
}

fn are_verified_for_other_brokers(ctx: &mut Ctx) -> Result<()> {
    let (topic, producer) = start(ctx)?;
    let request = batched(&topic, &[(&producer, true)]);
    say_batched(ctx, "before it is added, version 4", 4, &request)?;
    say_batched(ctx, "before it is added, version 5", 5, &request)?;
    ctx.begin(&producer, &topic, &[0])?;
    say_batched(ctx, "after it was added", 4, &request)
}

fn that_take_too_long_are_aborted(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    let producer = ctx.transactional_for("id", 2_000)?;
    ctx.begin(&producer, &topic, &[0])?;
    ctx.produce("produce", &topic, 0, &Batch::of(["a"]).by(&producer, 0))?;
    ctx.settle(&topic, 0)?;
    ctx.read("log", &topic, 0, 0, Committed)
}

fn the_owner_of_one_that_took_too_long(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    let producer = ctx.transactional_for("id", 2_000)?;
    ctx.begin(&producer, &topic, &[0])?;
    ctx.fill(&topic, 0, &Batch::of(["a"]).by(&producer, 0))?;
    ctx.settle(&topic, 0)?;
    ctx.produce("produce", &topic, 0, &Batch::of(["b"]).by(&producer, 1))?;
    ctx.end("commit", &producer, true)?;
    let answers = ctx.add_partitions(3, &producer, &topic, &[0])?;
    ctx.say_partitions("add partitions", &answers);
    let mut request = init_request(Some(&ctx.name("id")), 60_000);
    (request.producer_id, request.producer_epoch) = (producer.id.into(), producer.epoch);
    ctx.init("goes on under its epoch", 4, &request)?;
    ctx.init("starts anew", 4, &init_request(Some(&ctx.name("id")), 60_000))?;
    Ok(())
}

fn the_owner_of_one_that_took_too_long_in_version_2(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    let mut producer = ctx.transactional_for("id", 2_000)?;
    let batch = Batch::of(["a"]).by(&producer, 0);
    ctx.produce_in(PRODUCE_V2, "produce", &topic, 0, &batch)?;
    ctx.settle(&topic, 0)?;
    let batch = Batch::of(["b"]).by(&producer, 1);
    ctx.produce_in(PRODUCE_V2, "produce, too late", &topic, 0, &batch)?;
    ctx.end_v2("commit", &mut producer, true)?;
    ctx.init("starts anew", 5, &init_request(Some(&ctx.name("id")), 60_000))?;
    ctx.read("log", &topic, 0, 0, Committed)
}

fn the_time_runs_from_the_first_partition(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    let producer = ctx.transactional_for("id", 2_000)?;
    // Longer than the timeout, and nothing is open.
    std::thread::sleep(std::time::Duration::from_millis(2_500));
    ctx.begin(&producer, &topic, &[0])?;
    ctx.produce("produce", &topic, 0, &Batch::of(["a"]).by(&producer, 0))?;
    ctx.end("commit", &producer, true)?;
    ctx.settle(&topic, 0)?;
    ctx.read("log", &topic, 0, 0, Committed)
}

/// Produces by KIP-890's protocol.
fn produce(ctx: &mut Ctx, topic: &str, producer: &Producer, sequence: i32) -> Result<()> {
    let batch = Batch::of(["a"]).by(producer, sequence);
    ctx.produce_in(PRODUCE_V2, "produce", topic, 0, &batch)?;
    Ok(())
}

fn version_2_commits(ctx: &mut Ctx) -> Result<()> {
    let (topic, mut producer) = start(ctx)?;
    produce(ctx, &topic, &producer, 0)?;
    ctx.read("while it is open", &topic, 0, 0, Committed)?;
    ctx.end_v2("commit", &mut producer, true)?;
    ctx.settle(&topic, 0)?;
    ctx.read("after", &topic, 0, 0, Committed)
}

fn version_2_aborts(ctx: &mut Ctx) -> Result<()> {
    let (topic, mut producer) = start(ctx)?;
    produce(ctx, &topic, &producer, 0)?;
    produce(ctx, &topic, &producer, 1)?;
    ctx.end_v2("abort", &mut producer, false)?;
    ctx.settle(&topic, 0)?;
    ctx.read("after", &topic, 0, 0, Committed)
}

fn version_2_an_epoch_for_each(ctx: &mut Ctx) -> Result<()> {
    let (topic, mut producer) = start(ctx)?;
    for commit in [true, false, true] {
        produce(ctx, &topic, &producer, 0)?;
        ctx.end_v2("end", &mut producer, commit)?;
    }
    ctx.settle(&topic, 0)?;
    ctx.read("log", &topic, 0, 0, Committed)
}

fn version_2_the_old_epoch_is_fenced(ctx: &mut Ctx) -> Result<()> {
    let (topic, mut producer) = start(ctx)?;
    let old = producer.clone();
    produce(ctx, &topic, &producer, 0)?;
    ctx.end_v2("commit", &mut producer, true)?;
    ctx.settle(&topic, 0)?;
    ctx.say("with the old epoch:");
    produce(ctx, &topic, &old, 1)?;
    let batch = Batch::of(["a"]).by(&old, 1);
    ctx.produce("produce, version 9", &topic, 0, &batch)?;
    let answers = ctx.add_partitions(3, &old, &topic, &[0])?;
    ctx.say_partitions("add partitions", &answers);
    ctx.end("commit, version 3", &old, true)?;
    ctx.log("log", &topic, 0)
}

fn version_2_end_again_with_the_old_epoch(ctx: &mut Ctx) -> Result<()> {
    let (topic, mut producer) = start(ctx)?;
    let mut old = producer.clone();
    produce(ctx, &topic, &producer, 0)?;
    ctx.end_v2("commit", &mut producer, true)?;
    ctx.settle(&topic, 0)?;
    ctx.end_v2("commit again, the reply was lost", &mut old, true)?;
    let batch = Batch::of(["b"]).by(&old, 0);
    ctx.produce_in(PRODUCE_V2, "and go on", &topic, 0, &batch)?;
    ctx.log("log", &topic, 0)
}

fn version_2_end_again_the_other_way(ctx: &mut Ctx) -> Result<()> {
    for commit in [true, false] {
        let topic = ctx.topic(&format!("t{commit}"), 1)?;
        let mut producer = ctx.transactional(&format!("id{commit}"))?;
        let mut old = producer.clone();
        produce(ctx, &topic, &producer, 0)?;
        ctx.end_v2("end", &mut producer, commit)?;
        ctx.settle(&topic, 0)?;
        ctx.end_v2("the other way, with the old epoch", &mut old, !commit)?;
        ctx.end_v2("the other way, with the new one", &mut producer, !commit)?;
    }
    Ok(())
}

fn version_2_end_without_a_beginning(ctx: &mut Ctx) -> Result<()> {
    let (_, mut producer) = start(ctx)?;
    ctx.end_v2("commit", &mut producer, true)?;
    Ok(())
}

fn version_2_abort_without_a_beginning(ctx: &mut Ctx) -> Result<()> {
    let (topic, mut producer) = start(ctx)?;
    ctx.end_v2("abort", &mut producer, false)?;
    ctx.end_v2("abort again", &mut producer, false)?;
    produce(ctx, &topic, &producer, 0)?;
    ctx.end_v2("commit", &mut producer, true)?;
    ctx.settle(&topic, 0)?;
    ctx.end_v2("abort after a commit", &mut producer, false)?;
    Ok(())
}

fn version_2_to_an_unknown_topic(ctx: &mut Ctx) -> Result<()> {
    let (topic, mut producer) = start(ctx)?;
    let nowhere = ctx.name("nowhere");
    let batch = Batch::of(["a"]).by(&producer, 0);
    ctx.produce_in(PRODUCE_V2, "an unknown topic", &nowhere, 0, &batch)?;
    ctx.produce_in(PRODUCE_V2, "an unknown partition", &topic, 9, &batch)?;
    ctx.end_v2("commit", &mut producer, true)?;
    Ok(())
}

fn version_2_over_partitions_and_offsets(ctx: &mut Ctx) -> Result<()> {
    let (topic, mut producer) = start(ctx)?;
    let group = ctx.name("g");
    let batch = Batch::of(["a"]).by(&producer, 0);
    for partition in [0, 1] {
        ctx.produce_in(PRODUCE_V2, "produce", &topic, partition, &batch)?;
    }
    let nobody = Speaker::nobody(&group);
    ctx.txn_offsets(TXN_OFFSETS_V2, "offsets", &producer, &nobody, (&topic, 0, 5))?;
    ctx.end_v2("commit", &mut producer, true)?;
    for partition in [0, 1] {
        ctx.settle(&topic, partition)?;
        ctx.read("log", &topic, partition, 0, Committed)?;
    }
    ctx.settle_offsets(&group, &topic, 0)?;
    ctx.committed("committed", &group, &topic, 0, true)
}

fn version_2_second_owner(ctx: &mut Ctx) -> Result<()> {
    let (topic, first) = start(ctx)?;
    produce(ctx, &topic, &first, 0)?;
    let request = init_request(Some(&ctx.name("id")), 60_000);
    let (answer, producer) = ctx.initialise_once(5, &request)?;
    ctx.say_producer("at once", answer, &producer);
    ctx.settle(&topic, 0)?;
    let second = ctx.init("later", 5, &request)?;
    produce(ctx, &topic, &second, 0)?;
    ctx.log("log", &topic, 0)
}

fn version_2_a_sequence_that_goes_on(ctx: &mut Ctx) -> Result<()> {
    let (topic, mut producer) = start(ctx)?;
    produce(ctx, &topic, &producer, 0)?;
    ctx.end_v2("commit", &mut producer, true)?;
    ctx.settle(&topic, 0)?;
    ctx.say("in the next epoch, with the next sequence:");
    produce(ctx, &topic, &producer, 1)?;
    ctx.say("from zero:");
    produce(ctx, &topic, &producer, 0)?;
    ctx.log("log", &topic, 0)
}

fn a_topic_is_deleted_under_one(ctx: &mut Ctx) -> Result<()> {
    let (topic, producer) = start(ctx)?;
    let kept = ctx.topic("kept", 1)?;
    for topic in [&topic, &kept] {
        ctx.begin(&producer, topic, &[0])?;
        ctx.fill(topic, 0, &Batch::of(["a"]).by(&producer, 0))?;
    }
    ctx.delete_topic("delete", &topic)?;
    let request = end_request(&producer, true);
    let answer = wait("an answer to EndTxn", || {
        let answer = ctx.call(3, &request)?.error_code;
        Ok((!is_transient(answer)).then_some(answer))
    })?;
    ctx.say(format!("commit: {}", code(answer)));
    ctx.settle(&kept, 0)?;
    ctx.read("the topic that is there", &kept, 0, 0, Committed)?;
    ctx.begin(&producer, &kept, &[0])?;
    ctx.produce("the next one", &kept, 0, &Batch::of(["b"]).by(&producer, 1)).map(drop)?;
    ctx.end("commit", &producer, true).map(drop).context("the next one")
}
