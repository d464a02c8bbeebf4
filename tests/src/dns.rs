//! A small DNS server: it knows one service, by any name, whose hosts are all this machine, at ports that a test changes.
//!
//! ```text
//! SRV anything      one record a port: port, node.test
//! A   anything      127.0.0.1
//! AAAA anything     nothing
//! ```

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};

const HEADER_BYTES: usize = 12;
const A: u16 = 1;
const SRV: u16 = 33;

/// The server; it answers for as long as the process runs.
pub struct NameServer {
    /// Where it listens.
    pub address: SocketAddr,
    ports: Arc<Mutex<Vec<u16>>>,
}

impl NameServer {
    /// Knows of no host yet.
    #[must_use]
    pub fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let ports: Arc<Mutex<Vec<u16>>> = Arc::default();
        let known = ports.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 1500];
            while let Ok((bytes, from)) = socket.recv_from(&mut buffer) {
                if let Some(answer) = answer(&buffer[..bytes], &known.lock().unwrap()) {
                    _ = socket.send_to(&answer, from);
                }
            }
        });
        Self { address, ports }
    }

    /// From now on the service is offered at these ports.
    pub fn offer(&self, ports: &[u16]) {
        *self.ports.lock().unwrap() = ports.to_vec();
    }
}

/// Answers a query with one question.
fn answer(query: &[u8], ports: &[u16]) -> Option<Vec<u8>> {
    let name_bytes = query.get(HEADER_BYTES..)?.iter().position(|byte| *byte == 0)? + 1;
    let question = query.get(HEADER_BYTES..HEADER_BYTES + name_bytes + 4)?;
    let kind = u16::from_be_bytes([question[name_bytes], question[name_bytes + 1]]);
    let records: Vec<Vec<u8>> = match kind {
        SRV => ports.iter().map(|port| offer(*port)).collect(),
        A => vec![Ipv4Addr::LOCALHOST.octets().to_vec()],
        _ => Vec::new(),
    };
    let mut out = query[..2].to_vec();
    // An answer of one who knows: no error, recursion wanted and had.
    out.extend_from_slice(&[0x85, 0x80, 0, 1]);
    out.extend_from_slice(&u16::try_from(records.len()).ok()?.to_be_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(question);
    for record in records {
        // The name of the question, its kind and class, no time to live.
        out.extend_from_slice(&[0xc0, 12]);
        out.extend_from_slice(&kind.to_be_bytes());
        out.extend_from_slice(&[0, 1, 0, 0, 0, 0]);
        out.extend_from_slice(&u16::try_from(record.len()).ok()?.to_be_bytes());
        out.extend_from_slice(&record);
    }
    Some(out)
}

/// The record of a host: priority, weight, port, target.
fn offer(port: u16) -> Vec<u8> {
    let mut record = vec![0, 1, 0, 1];
    record.extend_from_slice(&port.to_be_bytes());
    // Targets are not compressed, so that the host has a name of its own.
    record.extend_from_slice(b"\x04node\x04test\x00");
    record
}
