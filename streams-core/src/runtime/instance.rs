//! The name of an instance that the user has not named.
//!
//! The name is a part of the transactional ids, and the coordinator keeps each id for days
//! (`transactional.id.expiration.ms`, 7 days by default). With a random name, a process that
//! crashes every 10 s would leave 26,000 ids a day. So the name is that of a place which a process
//! takes and a later one takes again: the first free number on this machine.
//!
//! Two live processes never have the same name:
//!
//! 1. The name contains a hash of the kernel's boot id, the network namespace and the host's name.
//!    Processes with the same hash run on the same kernel in the same network namespace.
//! 2. In one network namespace only one process at a time can bind an abstract socket of one name.
//!    The kernel unbinds it when the process ends, however it ends.
//!
//! Where this does not hold (a virtual machine that is copied while it runs), or where there is no
//! such kernel, the user sets `instance`; outside of Linux the name is random.

#[cfg(target_os = "linux")]
use std::os::unix::net::UnixListener;

/// How many processes of one group may share a machine; further ones get random names.
#[cfg(target_os = "linux")]
const PLACES_MAX: usize = 256;

/// A name, and what keeps other processes from using it.
#[derive(Debug)]
pub(crate) struct InstanceName {
    name: String,
    #[cfg(target_os = "linux")]
    _place: Option<UnixListener>,
}

impl InstanceName {
    /// Takes the first free name on this machine for a member of `group`, or a random one with this
    /// seed.
    pub(crate) fn take(group: &str, seed: u64) -> Self {
        #[cfg(target_os = "linux")]
        if let Some(taken) = first_free(group) {
            return taken;
        }
        let _ = group;
        Self {
            name: format!("{seed:016x}"),
            #[cfg(target_os = "linux")]
            _place: None,
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.name
    }
}

#[cfg(target_os = "linux")]
fn first_free(group: &str) -> Option<InstanceName> {
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix::net::SocketAddr;
    let read = |path: &str| std::fs::read_to_string(path).ok().filter(|text| !text.is_empty());
    let boot = read("/proc/sys/kernel/random/boot_id")?;
    let host = read("/proc/sys/kernel/hostname")?;
    let network = std::fs::read_link("/proc/self/ns/net").ok()?;
    let machine = hash(&[boot.trim(), host.trim(), &network.to_string_lossy()]);
    let group = hash(&[group]);
    for place in 0..PLACES_MAX {
        let address = SocketAddr::from_abstract_name(format!("streams-{group:016x}-{place}"));
        // A place that another process has, or that cannot be taken for another reason.
        if let Ok(listener) = UnixListener::bind_addr(&address.ok()?) {
            let name = format!("{machine:016x}-{place}");
            return Some(InstanceName { name, _place: Some(listener) });
        }
    }
    None
}

/// FNV-1a: processes of different builds must agree on it.
#[cfg(target_os = "linux")]
fn hash(parts: &[&str]) -> u64 {
    let bytes = parts.iter().flat_map(|part| part.bytes().chain([0]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn u7_a_name_is_taken_again_when_its_process_is_gone_and_not_before() {
        let group = format!("test-{}", std::process::id());
        let take = |seed| InstanceName::take(&group, seed);
        let (first, second) = (take(1), take(2));
        assert_ne!(first.as_str(), second.as_str());
        let name = first.as_str().to_owned();
        drop(first);
        let third = take(3);
        assert_eq!(third.as_str(), name, "each start makes transactional ids of its own");
        let other = InstanceName::take("another", 4);
        assert_eq!(other.as_str(), name, "the ids contain the group");
    }
}
