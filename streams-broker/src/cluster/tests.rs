//! The cluster, stepped with a clock of the test's own.

use bytes::BytesMut;

use super::*;

mod admin;
mod client;
mod faults;
mod groups;
mod history;
mod idempotence;
mod logs;
mod reading;
mod storing;
mod transactions;

struct Bench {
    cluster: Cluster,
    now: i64,
    next: u64,
    store: storing::MemoryStore,
    /// After so many requests what is stored is compared with what there is.
    compared_every: u64,
}

impl Bench {
    fn new() -> Self {
        let mut cluster = Cluster::new(Settings::default());
        cluster.create_topic("t", 2).unwrap();
        cluster.begin_storing();
        Self {
            cluster,
            now: 1_000,
            next: 0,
            store: storing::MemoryStore::default(),
            compared_every: 1,
        }
    }

    fn send(&mut self, version: i16, request: RequestKind) -> RequestId {
        let id = RequestId(self.next);
        self.next += 1;
        self.cluster.handle(self.now, id, version, request);
        self.cluster.check_invariants();
        if self.next.is_multiple_of(self.compared_every) {
            self.store_and_compare();
        }
        id
    }

    /// All replies that there are.
    fn replies(&mut self) -> BTreeMap<RequestId, Reply> {
        std::iter::from_fn(|| self.cluster.poll_reply()).collect()
    }

    /// The response that comes at once. One that its version has no place for can't be written.
    fn ask(&mut self, version: i16, request: RequestKind) -> ResponseKind {
        let id = self.send(version, request);
        match self.replies().remove(&id) {
            Some(Reply::Response(response)) => {
                let written = response.encode(&mut BytesMut::new(), version);
                written.unwrap_or_else(|error| panic!("version {version}: {error}: {response:?}"));
                *response
            }
            other => panic!("no response at once: {other:?}"),
        }
    }

    fn wait(&mut self, ms: i64) {
        self.now += ms;
        self.cluster.handle_timeout(self.now);
        self.cluster.check_invariants();
        self.store_and_compare();
    }
}
