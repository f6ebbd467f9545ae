//! A proxy between clients and a broker that loses requests and replies on demand.
//!
//! It reads frames, not bytes: a fault names the kind of request that it hits. The broker has to
//! advertise the proxy's address, or clients go round it.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use anyhow::{Result, ensure};

/// Requests of clients with this client id are left alone.
pub const SPARED_CLIENT_ID: &str = "generator";

const FRAME_BYTES_MAX: usize = 100 * 1024 * 1024;

/// What is lost; most often the connection goes with it, or all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// The broker never sees the request.
    Request,
    /// The broker does what it is asked, and the client never hears of it.
    Reply,
    /// The broker never sees the request, and the connection stays open: the client waits.
    Silently,
    /// The broker goes away before it sees the request: all connections close, and new ones close
    /// at once, until [`Proxy::restore`].
    Broker,
    /// The broker does what it is asked, and goes away before the client hears of it.
    BrokerAndReply,
}

/// A fault: after `skip` requests of `api`, one is lost, or its reply.
#[derive(Clone, Copy, Debug)]
pub struct ProxyFault {
    /// Kafka's number of the request's kind.
    pub api: i16,
    /// So many are let through first.
    pub skip: u32,
    /// What is lost.
    pub lost: Lost,
}

/// What the proxy's threads share.
#[derive(Debug, Default)]
struct State {
    faults: Mutex<Vec<ProxyFault>>,
    /// The requests whose connections close: client id and kind.
    refused: Mutex<BTreeSet<(String, i16)>>,
    /// Whether the broker is away.
    is_cut: AtomicBool,
    /// Both ends of all connections.
    connections: Mutex<Vec<TcpStream>>,
}

impl State {
    /// The broker goes away.
    fn cut(&self) {
        self.is_cut.store(true, Ordering::SeqCst);
        let connections = self.connections.lock().map(|mut all| std::mem::take(&mut *all));
        connections.into_iter().flatten().for_each(|one| drop(one.shutdown(Shutdown::Both)));
    }

    /// Returns whether the broker is there for this connection.
    fn admit(&self, client: &TcpStream, upstream: &TcpStream) -> Result<bool> {
        let ends = [client.try_clone()?, upstream.try_clone()?];
        if let Ok(mut connections) = self.connections.lock() {
            connections.extend(ends);
        }
        // Not before: a cut between the two would miss the connection.
        Ok(!self.is_cut.load(Ordering::SeqCst))
    }
}

/// A running proxy. It ends when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    state: Arc<State>,
    stop: Arc<AtomicBool>,
}

impl Proxy {
    /// Listens at `port` of the loopback address, and connects to `broker`.
    ///
    /// # Errors
    /// If it can't listen there.
    pub fn start(port: u16, broker: String) -> Result<Self> {
        Self::serve_at(TcpListener::bind(("127.0.0.1", port))?, broker)
    }

    /// Connects the clients of `listener` to `broker`.
    ///
    /// # Errors
    /// If the listener has no address.
    pub fn serve_at(listener: TcpListener, broker: String) -> Result<Self> {
        let port = listener.local_addr()?.port();
        let (state, stop) = (Arc::<State>::default(), Arc::new(AtomicBool::new(false)));
        let (shared, stopping) = (Arc::clone(&state), Arc::clone(&stop));
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if stopping.load(Ordering::Relaxed) {
                    return;
                }
                let (broker, state) = (broker.clone(), Arc::clone(&shared));
                std::thread::spawn(move || drop(serve(&client, &broker, &state)));
            }
        });
        Ok(Self { port, state, stop })
    }

    /// Closes all connections, and new ones at once, until [`Proxy::restore`].
    pub fn cut(&self) {
        self.state.cut();
    }

    /// Returns whether the broker is away.
    pub fn is_cut(&self) -> bool {
        self.state.is_cut.load(Ordering::SeqCst)
    }

    /// Closes the connection of each request of this kind by clients with this client id, until
    /// [`Proxy::restore`].
    pub fn refuse(&self, client_id: &str, api: i16) {
        if let Ok(mut refused) = self.state.refused.lock() {
            refused.insert((client_id.to_owned(), api));
        }
    }

    /// Lets everything pass again.
    pub fn restore(&self) {
        if let Ok(mut refused) = self.state.refused.lock() {
            refused.clear();
        }
        self.state.is_cut.store(false, Ordering::SeqCst);
    }

    /// Lets a request, or a reply, be lost.
    pub fn inject(&self, fault: ProxyFault) {
        if let Ok(mut faults) = self.state.faults.lock() {
            faults.push(fault);
        }
    }

    /// Faults that have not hit anything yet.
    pub fn pending(&self) -> usize {
        self.state.faults.lock().map_or(0, |faults| faults.len())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes the listener up.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

/// Reads a frame, with its length before it.
fn read_frame(stream: &mut impl Read) -> Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let bytes = usize::try_from(i32::from_be_bytes(length))?;
    ensure!(bytes <= FRAME_BYTES_MAX, "a frame of {bytes} bytes");
    let mut frame = vec![0; 4 + bytes];
    frame[..4].copy_from_slice(&length);
    stream.read_exact(&mut frame[4..])?;
    Ok(frame)
}

fn int16(frame: &[u8], at: usize) -> Option<i16> {
    frame.get(at..at + 2)?.try_into().ok().map(i16::from_be_bytes)
}

fn correlation_id(frame: &[u8], at: usize) -> Option<[u8; 4]> {
    frame.get(at..at + 4)?.try_into().ok()
}

/// A reply that is to be lost: its correlation id, and whether the broker goes with it.
type LostReply = ([u8; 4], bool);

/// The fault that hits this request, if one does.
fn fault_of(frame: &[u8], state: &State) -> Option<Lost> {
    let client_id_bytes = usize::try_from(int16(frame, 12)?).unwrap_or(0);
    let client_id = frame.get(14..14 + client_id_bytes)?;
    if client_id == SPARED_CLIENT_ID.as_bytes() {
        return None;
    }
    let api = int16(frame, 4)?;
    let refused = (String::from_utf8_lossy(client_id).into_owned(), api);
    if state.refused.lock().is_ok_and(|all| all.contains(&refused)) {
        return Some(Lost::Request);
    }
    let mut faults = state.faults.lock().ok()?;
    let at = faults.iter().position(|fault| fault.api == api)?;
    if faults[at].skip > 0 {
        faults[at].skip -= 1;
        return None;
    }
    Some(faults.remove(at).lost)
}

fn serve(client: &TcpStream, broker: &str, state: &Arc<State>) -> Result<()> {
    let upstream = TcpStream::connect(broker)?;
    if !state.admit(client, &upstream)? {
        let _ = client.shutdown(Shutdown::Both);
        return Ok(());
    }
    client.set_nodelay(true)?;
    upstream.set_nodelay(true)?;
    let close = |client: &TcpStream, upstream: &TcpStream| {
        let _ = client.shutdown(Shutdown::Both);
        let _ = upstream.shutdown(Shutdown::Both);
    };
    let lost: Arc<Mutex<Option<LostReply>>> = Arc::default();
    let (mut replies, mut to_client) = (upstream.try_clone()?, client.try_clone()?);
    let (awaited, shared) = (Arc::clone(&lost), Arc::clone(state));
    std::thread::spawn(move || {
        while let Ok(frame) = read_frame(&mut replies) {
            let awaited = awaited.lock().ok().and_then(|awaited| *awaited);
            let of_frame = awaited.filter(|(id, _)| correlation_id(&frame, 4) == Some(*id));
            if of_frame.is_some_and(|(_, with_broker)| with_broker) {
                shared.cut();
            }
            if of_frame.is_some() || to_client.write_all(&frame).is_err() {
                break;
            }
        }
        close(&to_client, &replies);
    });
    let (mut requests, mut to_broker) = (client.try_clone()?, upstream.try_clone()?);
    while let Ok(frame) = read_frame(&mut requests) {
        match fault_of(&frame, state) {
            Some(Lost::Request) => break,
            Some(Lost::Broker) => {
                state.cut();
                break;
            }
            Some(Lost::Silently) => continue,
            Some(how @ (Lost::Reply | Lost::BrokerAndReply)) => {
                if let Ok(mut lost) = lost.lock() {
                    let with_broker = how == Lost::BrokerAndReply;
                    *lost = correlation_id(&frame, 8).map(|id| (id, with_broker));
                }
            }
            None => {}
        }
        if to_broker.write_all(&frame).is_err() {
            break;
        }
    }
    close(client, &upstream);
    Ok(())
}
