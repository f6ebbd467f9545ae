//! Random histories under each policy.

use super::*;

/// Random histories of good and bad events under each policy, with aborts, lost requests and
/// replies, crashes and unparkings in between: each event has one outcome, and each key keeps its
/// order.
#[test]
fn random_histories_lose_and_double_nothing_and_keep_the_order_of_keys() {
    let key = || ErrorPolicy::retry(9, SECOND).order(RetryOrder::Key);
    let policies = [
        ErrorPolicy::from(key()),
        ErrorPolicy::retry(9, SECOND).into(),
        ErrorPolicy::park_by_key(),
        ErrorPolicy::retry(1, SECOND).order(RetryOrder::Key).then(ErrorPolicy::park_by_key()),
        ErrorPolicy::retry(1, SECOND).then(ErrorPolicy::dead_letter("letters")),
        key().then(ErrorPolicy::skip()),
    ];
    for seed in 1..16 {
        for (number, policy) in policies.iter().enumerate() {
            history(seed, number, policy);
        }
    }
}

fn history(seed: u64, number: usize, policy: &ErrorPolicy) {
    let mut random = seed * 31 + number as u64;
    let mut below = |bound: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % bound
    };
    FAILURES.with_borrow_mut(BTreeMap::clear);
    SWEEP_FAILURES.set(0);
    let mut driver = builder().on_handler_error(policy.clone()).partitions(2).test_driver();
    let keys = ["a", "b", "c"];
    let mut sent: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for _ in 0..60 {
        match below(10) {
            0 => {
                driver.inject(Fault::Abort);
            }
            1 => {
                driver.inject(Fault::LoseReply);
            }
            2 => {
                driver.inject(Fault::LoseRequest);
            }
            3 => {
                driver.crash();
            }
            4 => {
                driver.advance(SECOND / 2);
            }
            5 => {
                driver.interject("release");
            }
            _ => {
                let key = keys[below(3) as usize];
                let of_key = sent.entry(key).or_default();
                let name = format!("{key}{:03}", of_key.len());
                if below(3) == 0 {
                    fails(&name, 1 + u32::try_from(below(3)).expect("small"), Kind::Error);
                }
                driver.send(key, event(&name));
                of_key.push(name);
            }
        }
    }
    for _ in 0..20 {
        driver.advance(SECOND * 4).interject("release");
    }
    let (done, letters) = (outcome(&driver), letters(&driver));
    let letter =
        |record: &Record| String::from_utf8_lossy(record.value().expect("a value")).into_owned();
    let letters: Vec<String> = letters.iter().map(letter).collect();
    for (key, names) in sent {
        let of_key: Vec<_> = done.iter().filter(|name| name.starts_with(key)).collect();
        assert!(of_key.is_sorted(), "seed {seed}, policy {number}: {of_key:?}");
        for name in names {
            let count = |list: &[String]| list.iter().filter(|other| **other == name).count();
            let ends = count(&done) + count(&letters);
            assert_eq!(ends, 1, "seed {seed}, policy {number}: `{name}` in {done:?}, {letters:?}");
            let store = (0..2).find_map(|partition| driver.store(partition).runs.get(&name));
            assert_eq!(store.is_some(), count(&done) == 1, "seed {seed}, policy {number}: {name}");
        }
    }
}
