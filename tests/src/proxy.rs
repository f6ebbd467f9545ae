//! A proxy between clients and a broker that loses requests and replies on demand.
//!
//! It reads frames, not bytes: a fault names the kind of request that it hits. The broker has to
//! advertise the proxy's address, or clients go round it.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use anyhow::{Result, ensure};

/// Requests of clients with this client id are left alone.
pub const SPARED_CLIENT_ID: &str = "generator";

const FRAME_BYTES_MAX: usize = 100 * 1024 * 1024;

/// What is lost; most often the connection goes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// The broker never sees the request.
    Request,
    /// The broker does what it is asked, and the client never hears of it.
    Reply,
    /// The broker never sees the request, and the connection stays open: the client waits.
    Silently,
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

type Faults = Arc<Mutex<Vec<ProxyFault>>>;

/// A running proxy. It ends when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    faults: Faults,
    stop: Arc<AtomicBool>,
}

impl Proxy {
    /// Listens at `port` of the loopback address, and connects to `broker`.
    ///
    /// # Errors
    /// If it can't listen there.
    pub fn start(port: u16, broker: String) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port))?;
        let (faults, stop) = (Faults::default(), Arc::new(AtomicBool::new(false)));
        let (shared, stopping) = (Arc::clone(&faults), Arc::clone(&stop));
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if stopping.load(Ordering::Relaxed) {
                    return;
                }
                let (broker, faults) = (broker.clone(), Arc::clone(&shared));
                std::thread::spawn(move || drop(serve(&client, &broker, &faults)));
            }
        });
        Ok(Self { port, faults, stop })
    }

    /// Lets a request, or a reply, be lost.
    pub fn inject(&self, fault: ProxyFault) {
        if let Ok(mut faults) = self.faults.lock() {
            faults.push(fault);
        }
    }

    /// Faults that have not hit anything yet.
    pub fn pending(&self) -> usize {
        self.faults.lock().map_or(0, |faults| faults.len())
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

/// The fault that hits this request, if one does.
fn fault_of(frame: &[u8], faults: &Faults) -> Option<Lost> {
    let client_id_bytes = usize::try_from(int16(frame, 12)?).unwrap_or(0);
    if frame.get(14..14 + client_id_bytes)? == SPARED_CLIENT_ID.as_bytes() {
        return None;
    }
    let api = int16(frame, 4)?;
    let mut faults = faults.lock().ok()?;
    let at = faults.iter().position(|fault| fault.api == api)?;
    if faults[at].skip > 0 {
        faults[at].skip -= 1;
        return None;
    }
    Some(faults.remove(at).lost)
}

fn serve(client: &TcpStream, broker: &str, faults: &Faults) -> Result<()> {
    let upstream = TcpStream::connect(broker)?;
    client.set_nodelay(true)?;
    upstream.set_nodelay(true)?;
    let close = |client: &TcpStream, upstream: &TcpStream| {
        let _ = client.shutdown(Shutdown::Both);
        let _ = upstream.shutdown(Shutdown::Both);
    };
    // The reply that is to be lost, by its correlation id.
    let lost: Arc<Mutex<Option<[u8; 4]>>> = Arc::default();
    let (mut replies, mut to_client) = (upstream.try_clone()?, client.try_clone()?);
    let awaited = Arc::clone(&lost);
    std::thread::spawn(move || {
        while let Ok(frame) = read_frame(&mut replies) {
            let awaited = awaited.lock().ok().and_then(|awaited| *awaited);
            let is_lost = awaited.is_some() && correlation_id(&frame, 4) == awaited;
            if is_lost || to_client.write_all(&frame).is_err() {
                break;
            }
        }
        close(&to_client, &replies);
    });
    let (mut requests, mut to_broker) = (client.try_clone()?, upstream.try_clone()?);
    while let Ok(frame) = read_frame(&mut requests) {
        match fault_of(&frame, faults) {
            Some(Lost::Request) => break,
            Some(Lost::Silently) => continue,
            Some(Lost::Reply) => {
                if let Ok(mut lost) = lost.lock() {
                    *lost = correlation_id(&frame, 8);
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
