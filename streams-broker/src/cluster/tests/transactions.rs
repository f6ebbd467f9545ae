//! Both transaction protocols: isolation, fencing, retries, timeouts, offsets.

use kafka_protocol::messages::*;

use super::client::{Protocol, batch_of, text};
use super::*;

const BOTH: [Protocol; 2] = [Protocol::V1, Protocol::V2];

fn with_marker_delay(ms: i64) -> Bench {
    let mut bench = Bench::new();
    bench.cluster.settings.transactions.marker_delay_ms = ms;
    bench
}

#[test]
fn brk3_what_is_open_or_aborted_is_not_read_committed() {
    for protocol in BOTH {
        let mut bench = Bench::new();
        let mut producer = bench.producer(protocol, "id");
        assert_eq!(bench.produce(&mut producer, 0, &["a", "b"]), Ok(0));
        assert_eq!(bench.read(1, 0).values, [""; 0], "open");
        assert_eq!(bench.read(0, 0).values, ["a", "b"]);
        assert_eq!(bench.end(&mut producer, false), 0);
        assert_eq!(bench.produce(&mut producer, 0, &["c"]), Ok(3));
        assert_eq!(bench.end(&mut producer, true), 0);
        let read = bench.read(1, 0);
        assert_eq!((read.values, read.stable), (vec!["c".to_owned()], 5), "{protocol:?}");
    }
}

#[test]
fn what_was_not_added_is_refused_by_the_name_that_the_client_knows() {
    let mut bench = Bench::new();
    let producer = bench.producer(Protocol::V1, "id");
    let batch = || batch_of((producer.id, producer.epoch), 0, true, &["a"]);
    for (version, expected) in
        [(9, Err(codes::INVALID_TXN_STATE)), (11, Err(codes::TRANSACTION_ABORTABLE)), (12, Ok(0))]
    {
        assert_eq!(bench.produce_batch(version, Some("id"), 0, batch()), expected, "{version}");
    }
    let unnamed = bench.produce_batch(12, None, 0, batch());
    assert_eq!(unnamed, Err(codes::TRANSACTIONAL_ID_AUTHORIZATION_FAILED));
    let other = bench.produce_batch(12, Some("other"), 1, batch());
    assert_eq!(other, Err(codes::INVALID_PRODUCER_ID_MAPPING));
}

#[test]
fn a_lost_reply_to_end_txn_can_be_asked_for_again() {
    for protocol in BOTH {
        let mut bench = Bench::new();
        let mut producer = bench.producer(protocol, "id");
        bench.produce(&mut producer, 0, &["a"]).unwrap();
        let mut again = producer.clone();
        let mut other = producer.clone();
        assert_eq!(bench.end(&mut producer, true), 0);
        assert_eq!(bench.end(&mut again, true), 0);
        assert_eq!((again.id, again.epoch), (producer.id, producer.epoch));
        assert_eq!(bench.end(&mut other, false), codes::INVALID_TXN_STATE, "{protocol:?}");
        assert_eq!(bench.read(1, 0).values, ["a"], "once");
    }
}

#[test]
fn kip_890_bumps_the_epoch_with_each_end() {
    let mut bench = Bench::new();
    let mut producer = bench.producer(Protocol::V2, "id");
    let first = producer.clone();
    assert_eq!(bench.end(&mut producer, true), codes::INVALID_TXN_STATE, "nothing to commit");
    assert_eq!(bench.end(&mut producer, false), 0, "an abort of nothing is one");
    assert_eq!((producer.id, producer.epoch), (first.id, first.epoch + 1));
    bench.produce(&mut producer, 0, &["a"]).unwrap();
    assert_eq!(bench.end(&mut producer, true), 0);
    assert_eq!(producer.epoch, first.epoch + 2);
    let mut late = first.clone();
    assert_eq!(bench.produce(&mut late, 0, &["z"]), Err(codes::INVALID_PRODUCER_EPOCH));
    assert_eq!(bench.end(&mut late, true), codes::PRODUCER_FENCED);
}

#[test]
fn a_late_batch_of_one_transaction_never_lands_in_the_next() {
    let mut bench = Bench::new();
    let mut producer = bench.producer(Protocol::V2, "id");
    bench.produce(&mut producer, 0, &["a"]).unwrap();
    let mut late = producer.clone();
    bench.end(&mut producer, true);
    bench.produce(&mut producer, 0, &["b"]).unwrap();
    assert_eq!(bench.produce(&mut late, 0, &["late"]), Err(codes::INVALID_PRODUCER_EPOCH));
    bench.end(&mut producer, true);
    assert_eq!(bench.read(1, 0).values, ["a", "b"]);
}

#[test]
fn used_up_epochs_bring_another_producer_id() {
    let mut bench = Bench::new();
    let mut producer = bench.producer(Protocol::V2, "id");
    let first = producer.id;
    bench.cluster.transactions.by_id.get_mut("id").unwrap().epoch = i16::MAX - 1;
    producer.epoch = i16::MAX - 1;
    bench.produce(&mut producer, 0, &["a"]).unwrap();
    let mut again = producer.clone();
    assert_eq!(bench.end(&mut producer, true), 0);
    assert_eq!(producer.epoch, 0);
    assert_ne!(producer.id, first);
    assert_eq!(bench.end(&mut again, true), 0, "a retry over the change");
    assert_eq!((again.id, again.epoch), (producer.id, 0));
    bench.cluster.transactions.by_id.get_mut("id").unwrap().epoch = i16::MAX - 1;
    let newer = bench.producer(Protocol::V1, "id");
    assert_eq!(newer.epoch, 0);
    assert_ne!(newer.id, producer.id);
}

#[test]
fn brk4_a_new_owner_fences_the_old_one_and_aborts_what_it_left() {
    for protocol in BOTH {
        let mut bench = Bench::new();
        let mut old = bench.producer(protocol, "id");
        bench.produce(&mut old, 0, &["a"]).unwrap();
        assert_eq!(bench.init(Some("id"), None), Err(codes::CONCURRENT_TRANSACTIONS));
        assert_eq!(bench.read(1, 0).stable, 2, "aborted at once");
        let (id, epoch) = bench.init(Some("id"), None).unwrap();
        assert_eq!((id, epoch), (old.id, old.epoch + 2), "one epoch was given to nobody");
        assert_eq!(bench.add(&old, 0), codes::PRODUCER_FENCED);
        let refused = bench.produce_only(&mut old, 0, &["b"]);
        assert_eq!(refused, Err(codes::INVALID_PRODUCER_EPOCH));
        assert_eq!(
            bench.commit_offset(&old, 1, ("", -1)),
            match protocol {
                Protocol::V1 => codes::PRODUCER_FENCED,
                Protocol::V2 => codes::INVALID_PRODUCER_EPOCH,
            }
        );
        assert_eq!(bench.end(&mut old, true), codes::PRODUCER_FENCED);
        assert_eq!(bench.read(1, 0).values, [""; 0]);
    }
}

#[test]
fn fenced_is_said_as_the_version_knows_it() {
    let mut bench = Bench::new();
    let old = bench.producer(Protocol::V1, "id");
    bench.producer(Protocol::V1, "id");
    let end = |producer: &client::Producer| {
        EndTxnRequest::default()
            .with_transactional_id(TransactionalId(text("id")))
            .with_producer_id(producer.id.into())
            .with_producer_epoch(producer.epoch)
    };
    for (version, code) in [(1, codes::INVALID_PRODUCER_EPOCH), (2, codes::PRODUCER_FENCED)] {
        match bench.ask(version, RequestKind::EndTxn(end(&old))) {
            ResponseKind::EndTxn(r) => assert_eq!(r.error_code, code, "EndTxn {version}"),
            other => panic!("{other:?}"),
        }
    }
    let init = InitProducerIdRequest::default()
        .with_transactional_id(Some(TransactionalId(text("id"))))
        .with_transaction_timeout_ms(1)
        .with_producer_id(old.id.into())
        .with_producer_epoch(old.epoch);
    for (version, code) in [(3, codes::INVALID_PRODUCER_EPOCH), (4, codes::PRODUCER_FENCED)] {
        match bench.ask(version, RequestKind::InitProducerId(init.clone())) {
            ResponseKind::InitProducerId(r) => assert_eq!(r.error_code, code, "{version}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn kip_360_a_producer_goes_on_under_the_epoch_that_it_has() {
    let mut bench = Bench::new();
    let (id, epoch) = bench.init(Some("id"), None).unwrap();
    assert_eq!(bench.init(Some("id"), Some((id, epoch))), Ok((id, epoch + 1)));
    assert_eq!(bench.init(Some("id"), Some((id, epoch))), Ok((id, epoch + 1)), "a retry");
    assert_eq!(bench.init(Some("id"), Some((id, epoch + 1))), Ok((id, epoch + 2)));
    let stale = bench.init(Some("id"), Some((id, epoch)));
    assert_eq!(stale, Err(codes::PRODUCER_FENCED));
    assert_eq!(bench.init(Some("id"), Some((id + 9, 0))), Err(codes::PRODUCER_FENCED));
    assert_eq!(bench.init(Some("id"), Some((id, -1))), Err(codes::INVALID_REQUEST));
    bench.init(Some("id"), None).unwrap();
    let fenced = bench.init(Some("id"), Some((id, epoch + 2)));
    assert_eq!(fenced, Err(codes::PRODUCER_FENCED), "another owner has come");
}

#[test]
fn what_an_initialisation_asks_for_is_checked() {
    let mut bench = Bench::new();
    let init = |id: Option<&str>, timeout: i32| {
        InitProducerIdRequest::default()
            .with_transactional_id(id.map(|id| TransactionalId(text(id))))
            .with_transaction_timeout_ms(timeout)
    };
    for (id, timeout, code) in [
        (Some("id"), 0, codes::INVALID_TRANSACTION_TIMEOUT),
        (Some("id"), 900_001, codes::INVALID_TRANSACTION_TIMEOUT),
        (Some("id"), 900_000, codes::NONE),
        (Some(""), 1, codes::INVALID_REQUEST),
        (None, 0, codes::NONE),
    ] {
        match bench.ask(5, RequestKind::InitProducerId(init(id, timeout))) {
            ResponseKind::InitProducerId(r) => assert_eq!(r.error_code, code, "{id:?} {timeout}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_transaction_that_takes_too_long_is_aborted_and_fenced() {
    for protocol in BOTH {
        let mut bench = Bench::new();
        let mut producer = bench.producer(protocol, "id");
        bench.produce(&mut producer, 0, &["a"]).unwrap();
        assert_eq!(bench.cluster.poll_timeout(), Some(bench.now + 10_001));
        bench.wait(10_000);
        assert_eq!(bench.read(1, 0).stable, 0);
        bench.wait(1);
        assert_eq!(bench.read(1, 0).stable, 2);
        let late = bench.produce_only(&mut producer, 0, &["b"]);
        assert_eq!(late, Err(codes::INVALID_PRODUCER_EPOCH));
        assert_eq!(
            bench.end(&mut producer, true),
            match protocol {
                Protocol::V1 => codes::PRODUCER_FENCED,
                // Its epoch is the one before the bump: to Kafka a retry, of another end.
                Protocol::V2 => codes::INVALID_TXN_STATE,
            }
        );
        assert_eq!(bench.read(1, 0).values, [""; 0]);
    }
}

#[test]
fn while_markers_are_due_the_next_transaction_waits() {
    for protocol in BOTH {
        let mut bench = with_marker_delay(5);
        let mut producer = bench.producer(protocol, "id");
        bench.produce(&mut producer, 0, &["a"]).unwrap();
        let mut again = producer.clone();
        assert_eq!(bench.end(&mut producer, true), 0);
        assert_eq!(bench.read(1, 0).stable, 0, "no marker yet");
        assert_eq!(bench.end(&mut again, true), codes::CONCURRENT_TRANSACTIONS);
        assert_eq!(bench.add(&producer, 1), codes::CONCURRENT_TRANSACTIONS);
        assert_eq!(bench.init(Some("id"), None), Err(codes::CONCURRENT_TRANSACTIONS));
        let produced = bench.produce_only(&mut producer, 1, &["b"]);
        assert_eq!(
            produced,
            Err(match protocol {
                Protocol::V1 => codes::NOT_ENOUGH_REPLICAS,
                Protocol::V2 => codes::CONCURRENT_TRANSACTIONS,
            })
        );
        bench.wait(5);
        assert_eq!(bench.read(1, 0).values, ["a"]);
        assert_eq!(bench.produce(&mut producer, 1, &["b"]), Ok(0));
        assert_eq!(bench.end(&mut producer, false), 0);
        bench.wait(5);
        assert_eq!(bench.read(1, 1).stable, 2);
    }
}

#[test]
fn brk5_offsets_are_seen_when_they_are_committed() {
    for protocol in BOTH {
        let mut bench = Bench::new();
        let mut producer = bench.producer(protocol, "id");
        assert_eq!(bench.commit_offset(&producer, 5, ("", -1)), 0);
        assert_eq!(bench.offset(false), -1);
        assert_eq!(bench.offset(true), -i64::from(codes::UNSTABLE_OFFSET_COMMIT));
        bench.end(&mut producer, false);
        assert_eq!(bench.offset(true), -1);
        assert_eq!(bench.commit_offset(&producer, 7, ("", -1)), 0);
        bench.end(&mut producer, true);
        assert_eq!(bench.offset(true), 7);
    }
}

#[test]
fn offsets_are_fenced_by_member() {
    for protocol in BOTH {
        let mut bench = Bench::new();
        let producer = bench.producer(protocol, "id");
        let stranger = bench.commit_offset(&producer, 5, ("nobody", 1));
        assert_eq!(stranger, codes::ILLEGAL_GENERATION, "there is no such group");
        assert_eq!(bench.commit_offset(&producer, 5, ("", -1)), 0);
        let stranger = bench.commit_offset(&producer, 5, ("nobody", 1));
        assert_eq!(stranger, codes::UNKNOWN_MEMBER_ID);
    }
}

#[test]
fn one_unknown_partition_keeps_the_others_out() {
    let mut bench = Bench::new();
    let producer = bench.producer(Protocol::V1, "id");
    let topic = add_partitions_to_txn_request::AddPartitionsToTxnTopic::default()
        .with_name(TopicName(text("t")))
        .with_partitions(vec![0, 9]);
    let transaction = add_partitions_to_txn_request::AddPartitionsToTxnTransaction::default()
        .with_transactional_id(TransactionalId(text("id")))
        .with_producer_id(producer.id.into())
        .with_producer_epoch(producer.epoch)
        .with_topics(vec![topic.clone()]);
    let fits = transaction.clone().with_topics(vec![topic.with_partitions(vec![0])]);
    let mut ask = |transaction, verify: bool| {
        let request = AddPartitionsToTxnRequest::default().with_transactions(vec![
            add_partitions_to_txn_request::AddPartitionsToTxnTransaction::with_verify_only(
                transaction,
                verify,
            ),
        ]);
        match bench.ask(5, RequestKind::AddPartitionsToTxn(request)) {
            ResponseKind::AddPartitionsToTxn(r) => {
                let results = &r.results_by_transaction[0].topic_results[0].results_by_partition;
                results.iter().map(|result| result.partition_error_code).collect::<Vec<_>>()
            }
            other => panic!("{other:?}"),
        }
    };
    let unknown = [codes::OPERATION_NOT_ATTEMPTED, codes::UNKNOWN_TOPIC_OR_PARTITION];
    assert_eq!(ask(transaction, false), unknown);
    assert_eq!(ask(fits.clone(), true), [codes::TRANSACTION_ABORTABLE], "not in it yet");
    assert_eq!(ask(fits.clone(), false), [codes::NONE]);
    assert_eq!(ask(fits, true), [codes::NONE]);
}

#[test]
fn transactions_are_listed_and_described() {
    let mut bench = Bench::new();
    let mut open = bench.producer(Protocol::V2, "app-1");
    bench.produce(&mut open, 1, &["a"]).unwrap();
    bench.commit_offset(&open, 3, ("", -1));
    let idle = bench.producer(Protocol::V1, "app-2");
    bench.wait(100);
    let listed = |bench: &mut Bench, request: ListTransactionsRequest| match bench
        .ask(2, RequestKind::ListTransactions(request))
    {
        ResponseKind::ListTransactions(r) => {
            let ids = r.transaction_states.iter().map(|t| t.transactional_id.to_string());
            (r.error_code, ids.collect::<Vec<_>>(), r.unknown_state_filters.len())
        }
        other => panic!("{other:?}"),
    };
    let request = ListTransactionsRequest::default;
    let ongoing = request().with_state_filters(vec![text("Ongoing"), text("Sleeping")]);
    let of_idle = request().with_producer_id_filters(vec![idle.id.into()]);
    let pattern = |text_: &str| request().with_transactional_id_pattern(Some(text(text_)));
    let one = |id: &str| vec![id.to_owned()];
    let both = vec!["app-1".to_owned(), "app-2".to_owned()];
    for (request, expected) in [
        (request(), (0, both.clone(), 0)),
        (ongoing, (0, one("app-1"), 1)),
        (of_idle, (0, one("app-2"), 0)),
        (pattern("app"), (0, vec![], 0)),
        (pattern("app-[2-9]"), (0, one("app-2"), 0)),
        (pattern("app-("), (codes::INVALID_REGULAR_EXPRESSION, vec![], 0)),
        (request().with_duration_filter(99), (0, both, 0)),
        (request().with_duration_filter(100), (0, one("app-2"), 0)),
    ] {
        assert_eq!(listed(&mut bench, request.clone()), expected, "{request:?}");
    }
    let ids = ["app-1", "app-2", "app-3"].map(|id| TransactionalId(text(id))).to_vec();
    let request = DescribeTransactionsRequest::default().with_transactional_ids(ids);
    let ResponseKind::DescribeTransactions(r) =
        bench.ask(0, RequestKind::DescribeTransactions(request))
    else {
        panic!("another response");
    };
    let [first, second, third] = &r.transaction_states[..] else {
        panic!("not three: {r:?}");
    };
    assert_eq!(first.transaction_state.as_str(), "Ongoing");
    assert_eq!((first.producer_id.0, first.producer_epoch), (open.id, open.epoch));
    assert_eq!((first.transaction_timeout_ms, first.transaction_start_time_ms), (10_000, 1_000));
    let topics: Vec<_> = first.topics.iter().map(|t| (t.topic.as_str(), &t.partitions)).collect();
    // "g".hashCode() is 103.
    assert_eq!(topics, [("__consumer_offsets", &vec![3]), ("t", &vec![1])]);
    assert_eq!(second.transaction_state.as_str(), "Empty");
    assert_eq!(third.error_code, codes::TRANSACTIONAL_ID_NOT_FOUND);
}

#[test]
fn producers_are_described() {
    let mut bench = Bench::new();
    let mut producer = bench.producer(Protocol::V1, "id");
    bench.produce(&mut producer, 0, &["a", "b"]).unwrap();
    let described = |bench: &mut Bench| {
        let topic = describe_producers_request::TopicRequest::default()
            .with_name(TopicName(text("t")))
            .with_partition_indexes(vec![0, 7]);
        let request = DescribeProducersRequest::default().with_topics(vec![topic]);
        match bench.ask(0, RequestKind::DescribeProducers(request)) {
            ResponseKind::DescribeProducers(r) => r.topics[0].partitions.clone(),
            other => panic!("{other:?}"),
        }
    };
    let partitions = described(&mut bench);
    assert_eq!(partitions[1].error_code, codes::UNKNOWN_TOPIC_OR_PARTITION);
    let state = &partitions[0].active_producers[0];
    assert_eq!((state.producer_id.0, state.producer_epoch), (producer.id, 0));
    assert_eq!((state.last_sequence, state.last_timestamp), (1, 1_000));
    assert_eq!((state.coordinator_epoch, state.current_txn_start_offset), (-1, 0));
    bench.end(&mut producer, true);
    let state = &described(&mut bench)[0].active_producers[0];
    assert_eq!((state.coordinator_epoch, state.current_txn_start_offset), (0, -1));
}

#[test]
fn an_id_that_nobody_uses_is_forgotten() {
    let mut bench = Bench::new();
    let (id, _) = bench.init(Some("id"), None).unwrap();
    bench.wait(7 * 86_400_000 + 3_600_000);
    let (other, epoch) = bench.init(Some("id"), None).unwrap();
    assert_ne!(other, id);
    assert_eq!(epoch, 0);
}
