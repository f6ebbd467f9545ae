//! What a broker keeps in a directory.
//!
//! ```text
//! DIR/lock                      held by the one broker that uses the directory
//! DIR/coordinators              topics, configurations, offsets, transactions, producer ids
//! DIR/partitions/ID-NUMBER      a partition's batches, by its topic's id
//! ```
//!
//! Each file is a row of records that are only appended: length, CRC-32C, kind, payload. A record
//! that is cut off or broken ends the file: what comes from there on is cut off, and said. Files
//! are written anew, beside the old one, when most of them is out of date.
//!
//! A reply goes out when the system has taken what it stands for: a broker that is killed loses
//! nothing. A machine that loses its power may, unless each step is to reach the disk
//! ([`Fsync::Always`]).

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use uuid::Uuid;

use crate::cluster::{PartitionChange, StoreStep, StoredPartition};

/// When what is written has to reach the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fsync {
    /// Whenever the system sees fit, as Kafka's default is: a killed broker loses nothing, a
    /// machine without power may.
    #[default]
    Never,
    /// Before each reply that changes something.
    Always,
}

const HEADER_BYTES: usize = 9;
/// The coordinators' file is written anew when it is so large, and so many times what is in it.
const REWRITE_BYTES: u64 = 16 << 20;
const REWRITE_FACTOR: u64 = 8;
/// So many files are held open.
const OPEN_FILES_MAX: usize = 256;

/// The kinds of records.
const APPENDED: u8 = 1;
const REPLACED: u8 = 2;
const STEP: u8 = 3;

/// What was found in a directory.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) values: BTreeMap<String, Bytes>,
    /// Batches that belong to the values, in case their own files lack them.
    again: HashMap<(Uuid, i32), Vec<(i64, Bytes)>>,
}

/// A directory in use.
#[derive(Debug)]
pub(crate) struct Storage {
    directory: PathBuf,
    /// Locked as long as it is open.
    _lock: File,
    fsync: Fsync,
    coordinators: File,
    coordinators_bytes: u64,
    values: BTreeMap<String, Bytes>,
    partitions: HashMap<(Uuid, i32), File>,
}

fn record(kind: u8, parts: &[&[u8]]) -> Bytes {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut record = BytesMut::with_capacity(HEADER_BYTES + length);
    record.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    record.put_u32(0);
    record.put_u8(kind);
    parts.iter().for_each(|part| record.put_slice(part));
    let checksum = crc32c::crc32c(&record[8..]);
    record[4..8].copy_from_slice(&checksum.to_be_bytes());
    record.freeze()
}

/// The records of a file. What follows the last whole one is cut off.
fn read(path: &Path) -> io::Result<Vec<(u8, Bytes)>> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(mut file) => drop(file.read_to_end(&mut bytes)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    }
    let whole = bytes.len();
    let mut rest = Bytes::from(bytes);
    let mut records = Vec::new();
    while rest.len() >= HEADER_BYTES {
        let mut header = rest.slice(..HEADER_BYTES);
        let (length, checksum) = (header.get_u32() as usize, header.get_u32());
        let end = HEADER_BYTES.saturating_add(length);
        if end > rest.len() || crc32c::crc32c(&rest[8..end]) != checksum {
            break;
        }
        let record = rest.split_to(end);
        records.push((record[8], record.slice(HEADER_BYTES..)));
    }
    if !rest.is_empty() {
        let kept = (whole - rest.len()) as u64;
        let cut = rest.len();
        tracing::warn!(path = %path.display(), cut, kept, "a torn end was cut off, in bytes");
        OpenOptions::new().write(true).open(path)?.set_len(kept)?;
    }
    Ok(records)
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

/// Writes a file anew: whoever comes meanwhile finds the old one or the new one.
fn replace(path: &Path, records: &[Bytes], fsync: Fsync) -> io::Result<File> {
    let beside = path.with_extension("new");
    let mut file = File::create(&beside)?;
    records.iter().try_for_each(|record| file.write_all(record))?;
    if fsync == Fsync::Always {
        file.sync_all()?;
    }
    fs::rename(&beside, path)?;
    append_to(path)
}

fn put_bytes(into: &mut BytesMut, bytes: &[u8]) {
    into.put_u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    into.put_slice(bytes);
}

fn get_bytes(from: &mut Bytes) -> Option<Bytes> {
    if from.len() < 4 {
        return None;
    }
    let length = from.get_u32() as usize;
    (length <= from.len()).then(|| from.split_to(length))
}

/// A step of the coordinators: values, and the batches that belong to them.
fn write_step(values: &[(String, Option<Bytes>)], step: &StoreStep) -> Bytes {
    let mut payload = BytesMut::new();
    payload.put_u32(u32::try_from(values.len()).unwrap_or(u32::MAX));
    for (key, value) in values {
        put_bytes(&mut payload, key.as_bytes());
        payload.put_u8(u8::from(value.is_some()));
        put_bytes(&mut payload, value.as_deref().unwrap_or_default());
    }
    for (topic, partition, change) in &step.partitions {
        if let (PartitionChange::Append(base, batches), true) = (change, step.together) {
            payload.put_slice(topic.as_bytes());
            payload.put_i32(*partition);
            payload.put_i64(*base);
            put_bytes(&mut payload, batches);
        }
    }
    record(STEP, &[&payload])
}

fn read_step(mut payload: Bytes, found: &mut Found) -> Option<()> {
    if payload.len() < 4 {
        return None;
    }
    for _ in 0..payload.get_u32() {
        let key = String::from_utf8(get_bytes(&mut payload)?.to_vec()).ok()?;
        if payload.is_empty() {
            return None;
        }
        let is_there = payload.get_u8() == 1;
        let value = get_bytes(&mut payload)?;
        match is_there {
            true => found.values.insert(key, value),
            false => found.values.remove(&key),
        };
    }
    while payload.len() >= 28 {
        let topic = Uuid::from_slice(&payload.split_to(16)).ok()?;
        let (partition, base) = (payload.get_i32(), payload.get_i64());
        let batches = get_bytes(&mut payload)?;
        found.again.entry((topic, partition)).or_default().push((base, batches));
    }
    Some(())
}

/// How long a lock that somebody has is tried again. A process that was forked while the directory
/// was in use holds a copy of the lock until it executes another program, and nobody else does.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);
const LOCK_AGAIN: Duration = Duration::from_millis(5);

fn take(lock: &File) -> io::Result<()> {
    let deadline = Instant::now() + LOCK_PATIENCE;
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(()),
            Err(fs::TryLockError::Error(error)) => return Err(error),
            Err(fs::TryLockError::WouldBlock) if Instant::now() < deadline => {
                std::thread::sleep(LOCK_AGAIN);
            }
            Err(fs::TryLockError::WouldBlock) => {
                let busy = io::ErrorKind::ResourceBusy;
                return Err(io::Error::new(busy, "another broker uses it"));
            }
        }
    }
}

impl Storage {
    /// Takes a directory into use, and reads what is in it.
    ///
    /// # Errors
    /// If it can't be read or written, or another broker uses it.
    pub(crate) fn open(directory: &Path, fsync: Fsync) -> io::Result<(Self, Found)> {
        fs::create_dir_all(directory.join("partitions"))?;
        let lock = append_to(&directory.join("lock"))?;
        take(&lock)?;
        let path = directory.join("coordinators");
        let mut found = Found::default();
        for (kind, payload) in read(&path)? {
            let known = kind == STEP && read_step(payload, &mut found).is_some();
            known.then_some(()).ok_or_else(|| io::Error::other("a step that is none"))?;
        }
        let coordinators = append_to(&path)?;
        let storage = Self {
            directory: directory.to_owned(),
            _lock: lock,
            fsync,
            coordinators_bytes: coordinators.metadata()?.len(),
            coordinators,
            values: found.values.clone(),
            partitions: HashMap::new(),
        };
        Ok((storage, found))
    }

    fn path(&self, topic: Uuid, partition: i32) -> PathBuf {
        self.directory.join("partitions").join(format!("{}-{partition}", topic.hyphenated()))
    }

    /// What was stored of a partition. What only the coordinators know of it is written to it.
    pub(crate) fn partition(
        &mut self,
        found: &Found,
        topic: Uuid,
        partition: i32,
    ) -> io::Result<StoredPartition> {
        let path = self.path(topic, partition);
        let mut stored = StoredPartition::default();
        for (kind, mut payload) in read(&path)? {
            match kind {
                APPENDED => stored.appended.push(payload),
                REPLACED => {
                    let state = get_bytes(&mut payload);
                    let state = state.ok_or_else(|| io::Error::other("a state that is none"))?;
                    stored = StoredPartition { replaced: Some((state, payload)), appended: vec![] };
                }
                _ => return Err(io::Error::other("a record of another kind")),
            }
        }
        for (base, batches) in found.again.get(&(topic, partition)).into_iter().flatten() {
            if *base == stored.end() {
                let record = record(APPENDED, &[batches]);
                append_to(&path)?.write_all(&record)?;
                stored.appended.push(batches.clone());
            }
        }
        Ok(stored)
    }

    /// Writes what a step has changed: the coordinators first, which know of the whole of it.
    pub(crate) fn write(&mut self, step: &StoreStep) -> io::Result<()> {
        if !step.values.is_empty() {
            let record = write_step(&step.values, step);
            self.coordinators.write_all(&record)?;
            self.coordinators_bytes += record.len() as u64;
            for (key, value) in &step.values {
                match value {
                    Some(value) => self.values.insert(key.clone(), value.clone()),
                    None => self.values.remove(key),
                };
            }
        }
        for (topic, partition, change) in &step.partitions {
            self.change(*topic, *partition, change)?;
        }
        if self.fsync == Fsync::Always {
            self.coordinators.sync_data()?;
        }
        self.rewrite_if_due()
    }

    fn change(&mut self, topic: Uuid, partition: i32, change: &PartitionChange) -> io::Result<()> {
        let path = self.path(topic, partition);
        match change {
            PartitionChange::Append(_, batches) => {
                if self.partitions.len() >= OPEN_FILES_MAX {
                    self.partitions.clear();
                }
                let file = match self.partitions.entry((topic, partition)) {
                    std::collections::hash_map::Entry::Occupied(open) => open.into_mut(),
                    std::collections::hash_map::Entry::Vacant(closed) => {
                        closed.insert(append_to(&path)?)
                    }
                };
                file.write_all(&record(APPENDED, &[batches]))?;
                if self.fsync == Fsync::Always {
                    file.sync_data()?;
                }
            }
            PartitionChange::Replace(state, batches) => {
                let length = u32::try_from(state.len()).unwrap_or(u32::MAX).to_be_bytes();
                let record = record(REPLACED, &[&length, state, batches]);
                let file = replace(&path, &[record], self.fsync)?;
                self.partitions.insert((topic, partition), file);
            }
            PartitionChange::Remove => {
                self.partitions.remove(&(topic, partition));
                match fs::remove_file(&path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn rewrite_if_due(&mut self) -> io::Result<()> {
        let live: usize = self.values.iter().map(|(key, value)| key.len() + value.len()).sum();
        let limit = REWRITE_BYTES.max(live as u64 * REWRITE_FACTOR);
        if self.coordinators_bytes < limit {
            return Ok(());
        }
        let values = self.values.iter().map(|(key, value)| (key.clone(), Some(value.clone())));
        let values: Vec<(String, Option<Bytes>)> = values.collect();
        let record = write_step(&values, &StoreStep::default());
        self.coordinators_bytes = record.len() as u64;
        let path = self.directory.join("coordinators");
        self.coordinators = replace(&path, &[record], self.fsync)?;
        Ok(())
    }
}
