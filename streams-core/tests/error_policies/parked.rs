//! Parked keys.

use super::*;

fn parked_keys() -> Vec<(String, usize)> {
    let text = |key: Vec<u8>| String::from_utf8(key).expect("text");
    PARKED.take().into_iter().map(|(key, events)| (text(key), events)).collect()
}

#[test]
fn a_parked_key_waits_through_crashes_and_runs_in_order_once_it_is_unparked() {
    for bad in [Bad::Error, Bad::Panic] {
        let mut driver = meets(bad, ErrorPolicy::park_by_key(), 2);
        driver.send("a", event("a2")).send("b", event("b1")).then_committed(0, 4);
        assert_eq!(outcome(&driver), ["first", "b1"], "{bad:?}");
        assert_eq!(driver.store(0).runs.get("bad"), None, "{bad:?}: it is undone");
        driver.crash().send("a", event("a3")).send("b", event("b2")).then_committed(0, 6);
        assert_eq!(outcome(&driver), ["first", "b1", "b2"], "{bad:?}: restored");
        // It fails once more, and its key is parked as before.
        driver.interject("release");
        assert_eq!(parked_keys(), [("a".to_owned(), 3)]);
        assert_eq!(outcome(&driver).len(), 3, "{bad:?}");
        driver.send("a", event("a4")).inject(Fault::Abort).interject("release");
        assert_eq!(parked_keys(), [("a".to_owned(), 4)]);
        let all = ["first", "b1", "b2", "bad", "a2", "a3", "a4"];
        assert_eq!(outcome(&driver), all, "{bad:?}");
        driver.send("a", event("a5")).interject("release").then_committed(0, 8);
        assert_eq!(parked_keys(), [], "the key is as any other");
        driver.crash();
        assert_eq!(outcome(&driver)[7..], ["a5"], "{bad:?}: once");
        for name in all.iter().chain(&["a5"]) {
            assert_eq!(driver.store(0).runs.get(*name), Some(&1), "{bad:?}: {name}");
        }
    }
}

#[test]
fn a_key_that_is_parked_after_retries_keeps_its_order() {
    let policy = ErrorPolicy::retry(1, SECOND).order(RetryOrder::Key);
    let policy = policy.then(ErrorPolicy::park_by_key());
    let mut driver = builder().on_handler_error(policy).test_driver();
    // The abort brings the second attempt again.
    fails("a1", 3, Kind::Error);
    driver.send_all(["a1", "b1", "a2", "a3"].map(|name| (&name[..1], event(name))));
    driver.then_committed(0, 0).inject(Fault::Abort).advance(SECOND).then_committed(0, 4);
    driver.send("a", event("a4"));
    assert_eq!(outcome(&driver), ["b1"]);
    driver.interject("release");
    assert_eq!(parked_keys(), [("a".to_owned(), 4)]);
    assert_eq!(outcome(&driver), ["b1", "a1", "a2", "a3", "a4"]);
}

#[test]
fn a_finalizer_that_fails_parks_its_key_with_and_without_earlier_effects() {
    for (incompletely, has_effects) in
        [(Work::Later as Incompletely, false), (Work::Sooner as Incompletely, true)]
    {
        let mut driver = builder().on_handler_error(ErrorPolicy::park_by_key()).test_driver();
        driver.send("a", incompletely("x".to_owned()));
        complete_badly(&mut driver);
        driver.send("a", event("a2")).then_committed(0, 2);
        assert_eq!(driver.store(0).runs.get("sooner x"), None, "{has_effects}");
        driver.crash().interject("release");
        assert_eq!(parked_keys(), [("a".to_owned(), 2)], "{has_effects}");
        complete_well(&mut driver);
        let mut all = outcome(&driver);
        all.sort();
        assert_eq!(all, ["a2", "well"], "{has_effects}");
    }
}

#[test]
fn a_record_that_does_not_decode_parks_its_key_too() {
    let mut driver = meets(Bad::Decode, ErrorPolicy::park_by_key(), 0);
    driver.send("a", event("a2")).then_committed(0, 3).interject("release");
    assert_eq!(parked_keys(), [("a".to_owned(), 2)]);
    assert_eq!(outcome(&driver), ["first"]);
    driver.interject("release");
    assert_eq!(parked_keys(), [("a".to_owned(), 2)], "it does not decode now either");
}

#[test]
fn an_unparked_event_goes_by_each_answer_again() {
    let parks = AtomicBool::new(true);
    let policy = move |error: &ErrorContext<'_>| match error.attempt() {
        _ if parks.swap(false, Ordering::Relaxed) => ErrorResponse::Park,
        1 => ErrorResponse::Retry { after: SECOND, order: RetryOrder::Partition },
        _ => ErrorResponse::DeadLetter("letters".to_owned()),
    };
    let mut driver = builder().output("letters").on_handler_error(policy).test_driver();
    fails("bad", 3, Kind::Error);
    driver.send("a", event("bad")).send("a", event("a2")).interject("release");
    assert_eq!(outcome(&driver), [""; 0], "it waits for its second attempt");
    driver.send("b", event("b")).advance(SECOND);
    assert_eq!((outcome(&driver), letters(&driver).len()), (vec!["b".into(), "a2".into()], 1));

    let parks = AtomicBool::new(true);
    let policy = move |_: &ErrorContext<'_>| match parks.swap(false, Ordering::Relaxed) {
        true => ErrorResponse::Park,
        false => ErrorResponse::Continue,
    };
    let mut driver = builder().on_handler_error(policy).test_driver();
    fails("bad", 2, Kind::Panic);
    driver.send("a", event("bad")).send("a", event("a2")).interject("release");
    assert_eq!(outcome(&driver), ["a2"], "it is left out");
    driver.crash();
    assert_eq!(outcome(&driver), ["a2"]);
}

#[test]
fn parked_events_have_a_bound_at_which_the_partition_waits() {
    let builder = builder().parked_events_max(3, 1 << 20);
    let mut driver = builder.on_handler_error(ErrorPolicy::park_by_key()).test_driver();
    fails("bad", 1, Kind::Error);
    driver.send("a", event("bad"));
    driver.send_all((0..10).map(|number| ("a", event(&format!("a{number}")))));
    driver.send("b", event("b")).then_committed(0, 3);
    assert_eq!(outcome(&driver), [""; 0], "the partition waits");
    driver.interject("release").then_committed(0, 12);
    assert_eq!(parked_keys(), [("a".to_owned(), 3)]);
    let mut expected = vec!["bad".to_owned()];
    expected.extend((0..10).map(|number| format!("a{number}")));
    let of_a: Vec<_> = outcome(&driver).into_iter().filter(|name| name != "b").collect();
    assert_eq!(of_a, expected);
}

#[test]
fn a_record_without_a_key_cannot_be_parked() {
    let mut driver = builder().on_handler_error(ErrorPolicy::park_by_key()).test_driver();
    fails("bad", 1, Kind::Error);
    let error = stops_when(&mut driver, |driver| {
        driver.send_record(ProducerRecord::to("test").value(&b"bad"[..]).record_type("Do"));
    });
    assert!(error.contains("a record without a key can't be parked"), "{error}");
    assert_eq!(driver.committed(0), Some(0));
}
