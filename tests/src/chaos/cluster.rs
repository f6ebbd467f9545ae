//! Three KRaft nodes of Apache Kafka on the loopback address, each of them broker and controller.
//!
//! Each node has a data folder and two ports of its own, which it keeps when it comes back. The
//! ports lie below the system's range for outgoing connections: a client that knocks at the port of
//! a dead node would otherwise be given that port as its own one day, and connect to itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use kafka_protocol::messages::metadata_response::MetadataResponse;
use kafka_protocol::messages::{
    DescribeGroupsRequest, FindCoordinatorRequest, GroupId, ListTransactionsRequest,
    MetadataRequest,
};
use kafka_protocol::protocol::{Request, StrBytes};

use crate::conformance::connection::Connection;
use crate::kafka::{format_storage, log_tail, spawn};
use crate::probe;
use crate::process::{end, target_dir};

/// The number of nodes.
pub const NODES: i32 = 3;

const START_TIMEOUT: Duration = Duration::from_secs(120);
const STOP_TIMEOUT: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(50);

const SMALL: [&str; 4] = ["-Xms64m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"];

/// Below Linux's default range for outgoing connections, which begins at 32,768.
const PORTS: std::ops::Range<u16> = 12_000..32_000;

const GROUP_KEY: i8 = 0;

/// A node: where its data lies, where it listens, and its process while it runs.
#[derive(Debug)]
struct Node {
    port: u16,
    data: PathBuf,
    child: Option<Child>,
}

/// The leader and the in-sync replicas of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replicas {
    /// The node that leads the partition; `None` if no node does.
    pub leader: Option<i32>,
    /// All nodes with a replica.
    pub all: BTreeSet<i32>,
    /// The nodes whose replica is in sync.
    pub in_sync: BTreeSet<i32>,
}

/// A cluster of three nodes. Dropping it ends the nodes and removes their data.
#[derive(Debug)]
pub struct Cluster {
    nodes: BTreeMap<i32, Node>,
}

/// Returns ports that no process listens on.
fn free_ports(count: usize) -> Result<Vec<u16>> {
    let span = u32::from(PORTS.end - PORTS.start);
    let begin = u16::try_from(std::process::id().wrapping_mul(97) % span)?;
    let mut listeners = Vec::new();
    for step in 0..PORTS.end - PORTS.start {
        let port = PORTS.start + (begin + step) % (PORTS.end - PORTS.start);
        listeners.extend(TcpListener::bind(("127.0.0.1", port)));
        if listeners.len() == count {
            return Ok(listeners
                .iter()
                .map(|listener| Ok(listener.local_addr()?.port()))
                .collect::<std::io::Result<_>>()?);
        }
    }
    bail!("{count} free ports between {} and {}", PORTS.start, PORTS.end)
}

fn properties(
    id: i32,
    port: u16,
    controllers: &[u16],
    node: &Node,
    further: &str,
) -> Result<String> {
    let voters: Vec<String> = (1..)
        .zip(controllers)
        .map(|(id, port): (i32, _)| format!("{id}@127.0.0.1:{port}"))
        .collect();
    let controller = controllers.get(usize::try_from(id - 1)?).context("the node's own port")?;
    Ok(format!(
        "process.roles=broker,controller\nnode.id={id}\n\
         controller.quorum.voters={}\n\
         listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{port}\n\
         controller.listener.names=CONTROLLER\n\
         listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
         log.dirs={}\ndefault.replication.factor=3\nmin.insync.replicas=2\n\
         offsets.topic.replication.factor=3\noffsets.topic.num.partitions=5\n\
         transaction.state.log.replication.factor=3\ntransaction.state.log.min.isr=2\n\
         transaction.state.log.num.partitions=5\n\
         group.initial.rebalance.delay.ms=0\ngroup.min.session.timeout.ms=1000\n\
         auto.create.topics.enable=false\nlog.cleaner.dedupe.buffer.size=4194304\n{further}",
        voters.join(","),
        node.data.join("logs").display(),
    ))
}

impl Cluster {
    /// Starts three nodes. `further` are lines for the settings of each node.
    ///
    /// # Errors
    /// If a node does not answer within two minutes; the end of its log is in the error.
    pub fn start(further: &str) -> Result<Self> {
        let ports = free_ports(6)?;
        let (brokers, controllers) = ports.split_at(3);
        let folder = target_dir()?.join("kafka").join(format!("cluster-{}", std::process::id()));
        let mut cluster = Self { nodes: BTreeMap::new() };
        for (id, port) in (1..=NODES).zip(brokers) {
            let node = Node { port: *port, data: folder.join(id.to_string()), child: None };
            fs::create_dir_all(&node.data)?;
            let config = properties(id, *port, controllers, &node, further)?;
            fs::write(node.data.join("server.properties"), config)?;
            cluster.nodes.insert(id, node);
        }
        std::thread::scope(|scope| {
            let format = |node: &Node| {
                let config = node.data.join("server.properties");
                scope.spawn(move || format_storage(&config))
            };
            let formats: Vec<_> = cluster.nodes.values().map(format).collect();
            formats.into_iter().try_for_each(|format| {
                format.join().map_err(|_| anyhow!("a formatting thread panicked"))?
            })
        })?;
        for id in 1..=NODES {
            cluster.spawn(id)?;
        }
        for id in 1..=NODES {
            cluster.await_answer(id)?;
        }
        let deadline = Instant::now() + START_TIMEOUT;
        while cluster.metadata().map_or(0, |metadata| metadata.brokers.len()) < 3 {
            ensure!(Instant::now() < deadline, "the cluster does not register all of its brokers");
            std::thread::sleep(POLL);
        }
        Ok(cluster)
    }

    fn node(&mut self, id: i32) -> Result<&mut Node> {
        self.nodes.get_mut(&id).with_context(|| format!("there is no node {id}"))
    }

    fn spawn(&mut self, id: i32) -> Result<()> {
        let node = self.node(id)?;
        node.child = Some(spawn(&node.data, &SMALL)?);
        Ok(())
    }

    fn await_answer(&mut self, id: i32) -> Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        let node = self.node(id)?;
        let address = format!("127.0.0.1:{}", node.port);
        while !probe::answers(&address) {
            let child =
                node.child.as_mut().with_context(|| format!("node {id} was not started"))?;
            if child.try_wait()?.is_some() || Instant::now() >= deadline {
                let tail = log_tail(&node.data);
                bail!("node {id} does not answer; the end of its log, last line first: {tail:#?}");
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    /// Kills a node at once (SIGKILL).
    ///
    /// # Errors
    /// If it does not run.
    pub fn kill(&mut self, id: i32) -> Result<()> {
        let node = self.node(id)?;
        let mut child = node.child.take().with_context(|| format!("node {id} does not run"))?;
        if let Some(status) = child.try_wait()? {
            let tail = log_tail(&node.data);
            bail!("node {id} ended by itself, {status}; its log, last line first: {tail:#?}");
        }
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Starts killed nodes again, on their data and ports, and waits until they answer.
    ///
    /// # Errors
    /// If one does not answer within two minutes.
    pub fn restart(&mut self, ids: &[i32]) -> Result<()> {
        ids.iter().try_for_each(|id| self.spawn(*id))?;
        ids.iter().try_for_each(|id| self.await_answer(*id))
    }

    /// Returns the addresses of all nodes, for clients.
    pub fn bootstrap(&self) -> String {
        let addresses: Vec<String> =
            self.nodes.values().map(|node| format!("127.0.0.1:{}", node.port)).collect();
        addresses.join(",")
    }

    /// Returns the nodes whose process runs.
    pub fn running(&self) -> BTreeSet<i32> {
        let running = self.nodes.iter().filter(|(_, node)| node.child.is_some());
        running.map(|(id, _)| *id).collect()
    }

    fn ask<R: Request>(&self, id: i32, version: i16, request: &R) -> Result<R::Response> {
        let node = self.nodes.get(&id).with_context(|| format!("there is no node {id}"))?;
        Connection::open(&format!("127.0.0.1:{}", node.port))?.call(version, request)
    }

    /// Asks the first running node that answers.
    fn ask_any<R: Request>(&self, version: i16, request: &R) -> Result<R::Response> {
        let mut last = anyhow!("no node runs");
        for id in self.running() {
            match self.ask(id, version, request) {
                Ok(response) => return Ok(response),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn metadata(&self) -> Result<MetadataResponse> {
        self.ask_any(12, &MetadataRequest::default().with_topics(None))
    }

    /// Returns the replicas of every partition, by topic and number.
    ///
    /// # Errors
    /// If no running node answers.
    pub fn replicas(&self) -> Result<BTreeMap<(String, i32), Replicas>> {
        let mut found = BTreeMap::new();
        for topic in self.metadata()?.topics {
            let name = topic.name.map_or_else(String::new, |name| name.to_string());
            for partition in topic.partitions {
                let ids = |nodes: Vec<kafka_protocol::messages::BrokerId>| {
                    nodes.into_iter().map(|node| node.0).collect()
                };
                let replicas = Replicas {
                    leader: Some(partition.leader_id.0).filter(|id| *id >= 0),
                    all: ids(partition.replica_nodes),
                    in_sync: ids(partition.isr_nodes),
                };
                found.insert((name.clone(), partition.partition_index), replicas);
            }
        }
        Ok(found)
    }

    /// Returns the node that leads a partition.
    ///
    /// # Errors
    /// If no node leads it.
    pub fn leader(&self, topic: &str, partition: i32) -> Result<i32> {
        let replicas = self.replicas()?;
        let leader = replicas.get(&(topic.to_owned(), partition)).and_then(|found| found.leader);
        leader.with_context(|| format!("no node leads {topic}-{partition}"))
    }

    /// Returns the node that coordinates a group.
    ///
    /// # Errors
    /// If no node does.
    pub fn group_coordinator(&self, group: &str) -> Result<i32> {
        let request = FindCoordinatorRequest::default()
            .with_key(StrBytes::from_string(group.to_owned()))
            .with_key_type(GROUP_KEY);
        let response = self.ask_any(3, &request)?;
        ensure!(response.error_code == 0, "group {group}: error {}", response.error_code);
        Ok(response.node_id.0)
    }

    /// Returns the transactional ids whose names contain `part`, each with its coordinator.
    ///
    /// # Errors
    /// If a node does not answer.
    pub fn transactional_ids(&self, part: &str) -> Result<Vec<(String, i32)>> {
        let mut found = Vec::new();
        for id in self.running() {
            let response = self.ask(id, 0, &ListTransactionsRequest::default())?;
            let names = response.transaction_states.into_iter();
            let names = names.map(|state| state.transactional_id.to_string());
            found.extend(names.filter(|name| name.contains(part)).map(|name| (name, id)));
        }
        Ok(found)
    }

    /// Returns the state of a group, and how many members it has.
    ///
    /// # Errors
    /// If the coordinator does not answer.
    pub fn group(&self, group: &str) -> Result<(String, usize)> {
        let id = StrBytes::from_string(group.to_owned());
        let request = DescribeGroupsRequest::default().with_groups(vec![GroupId(id)]);
        let response = self.ask(self.group_coordinator(group)?, 5, &request)?;
        let described = response.groups.into_iter().next().context("no group described")?;
        Ok((described.group_state.to_string(), described.members.len()))
    }

    /// Waits until every partition has a leader that runs. Returns how long it took.
    ///
    /// # Errors
    /// If it is not so within `patience`.
    pub fn await_leaders(&self, patience: Duration) -> Result<Duration> {
        let running = self.running();
        self.await_replicas("a leader", patience, |replicas| {
            replicas.leader.is_some_and(|leader| running.contains(&leader))
        })
    }

    /// Waits until every replica of every partition is in sync. Returns how long it took.
    ///
    /// # Errors
    /// If it is not so within `patience`.
    pub fn await_in_sync(&self, patience: Duration) -> Result<Duration> {
        self.await_replicas("all replicas in sync", patience, |replicas| {
            replicas.leader.is_some() && replicas.in_sync == replicas.all
        })
    }

    fn await_replicas(
        &self,
        what: &str,
        patience: Duration,
        is_well: impl Fn(&Replicas) -> bool,
    ) -> Result<Duration> {
        let started = Instant::now();
        loop {
            let replicas = self.replicas();
            if let Ok(replicas) = &replicas
                && !replicas.is_empty()
                && replicas.values().all(&is_well)
            {
                return Ok(started.elapsed());
            }
            if started.elapsed() >= patience {
                let mut unwell = replicas?;
                unwell.retain(|_, replicas| !is_well(replicas));
                bail!("partitions without {what} after {patience:?}: {unwell:?}");
            }
            std::thread::sleep(POLL);
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for (id, node) in &mut self.nodes {
            if let Some(child) = &mut node.child
                && let Err(error) = child
                    .kill()
                    .map_err(Into::into)
                    .and_then(|()| end(child, STOP_TIMEOUT).map(|_| ()))
            {
                eprintln!("node {id} could not be ended: {error:#}");
            }
        }
        if let Some(folder) = self.nodes.values().next().and_then(|node| node.data.parent()) {
            let _ = fs::remove_dir_all(folder);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_distinct_and_free() {
        let ports = free_ports(6).expect("ports");
        assert_eq!(ports.iter().collect::<BTreeSet<_>>().len(), 6);
        assert!(ports.iter().all(|port| PORTS.contains(port)));
    }

    #[test]
    fn each_node_votes_and_listens_on_its_own_ports() {
        let node = Node { port: 2, data: PathBuf::from("data"), child: None };
        let text = properties(2, 12, &[21, 22, 23], &node, "a=b\n").expect("settings");
        assert!(text.contains("voters=1@127.0.0.1:21,2@127.0.0.1:22,3@127.0.0.1:23\n"));
        assert!(text.contains("PLAINTEXT://127.0.0.1:12,CONTROLLER://127.0.0.1:22\n"));
        assert!(text.ends_with("a=b\n"));
    }
}
