//! A name server on sockets of its own, UDP and TCP at one port, with what the test put into it.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// The name server; it answers until it is dropped.
#[derive(Debug)]
pub struct NameServer {
    address: SocketAddr,
    zone: Arc<Zone>,
    serving: Vec<JoinHandle<()>>,
}

/// By name in lower case and type: times to live and data.
type Records = BTreeMap<(String, u16), Vec<(u32, Vec<u8>)>>;

#[derive(Debug, Default)]
struct Zone {
    records: Mutex<Records>,
    questions: AtomicU64,
    by_tcp: AtomicU64,
    silent: AtomicBool,
    cuts: AtomicBool,
    ended: AtomicBool,
}

/// A service record: priority, weight, port and target.
pub type Service<'a> = (u16, u16, u16, &'a str);

impl NameServer {
    /// Knows no name yet.
    ///
    /// # Panics
    /// If there is no free port on loopback.
    pub fn start() -> Self {
        let (socket, listener) = sockets();
        socket.set_read_timeout(Some(LOOK)).expect("not zero");
        let address = socket.local_addr().expect("it is bound");
        let zone = Arc::<Zone>::default();
        let (over_udp, over_tcp) = (Arc::clone(&zone), Arc::clone(&zone));
        let serving = vec![
            std::thread::spawn(move || serve(&socket, &over_udp)),
            std::thread::spawn(move || accept(&listener, &over_tcp)),
        ];
        Self { address, zone, serving }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The addresses of a name from now on, for so many seconds.
    pub fn put(&self, name: &str, ttl: u32, addresses: &[IpAddr]) {
        let name = name.to_ascii_lowercase();
        let data = |address: &IpAddr| match address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        let mut records = self.zone.records();
        for (kind, six) in [(A, false), (AAAA, true)] {
            let own = addresses.iter().filter(|address| address.is_ipv6() == six);
            records.insert((name.clone(), kind), own.map(|address| (ttl, data(address))).collect());
        }
    }

    /// The services of a name from now on, for so many seconds.
    pub fn put_services(&self, name: &str, ttl: u32, services: &[Service<'_>]) {
        let data = |(priority, weight, port, target): &Service<'_>| {
            let numbers = [priority, weight, port].into_iter().flat_map(|number| number.to_be_bytes());
            (ttl, numbers.chain(wire(target)).collect())
        };
        let records = services.iter().map(data).collect();
        self.zone.records().insert((name.to_ascii_lowercase(), SRV), records);
    }

    /// Whether it takes questions without answering them, as one that is away.
    pub fn be_silent(&self, silent: bool) {
        self.zone.silent.store(silent, Ordering::SeqCst);
    }

    /// Whether answers are said not to fit into a datagram, so that they are to be had over TCP only.
    pub fn cut(&self, cuts: bool) {
        self.zone.cuts.store(cuts, Ordering::SeqCst);
    }

    /// Questions that came so far.
    pub fn questions(&self) -> u64 {
        self.zone.questions.load(Ordering::SeqCst)
    }

    /// Of these, those over TCP.
    pub fn questions_by_tcp(&self) -> u64 {
        self.zone.by_tcp.load(Ordering::SeqCst)
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.zone.ended.store(true, Ordering::SeqCst);
        // Wakes whoever waits for a connection.
        TcpStream::connect(self.address).ok();
        self.serving.drain(..).for_each(|serving| drop(serving.join()));
    }
}

impl Zone {
    fn records(&self) -> MutexGuard<'_, Records> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer to a message with one question; none for other bytes.
    fn answer(&self, question: &[u8]) -> Option<Vec<u8>> {
        let mut at = 12;
        let mut labels: Vec<String> = Vec::new();
        loop {
            let length = usize::from(*question.get(at)?);
            at += 1 + length;
            if length == 0 {
                break;
            }
            labels.push(String::from_utf8_lossy(question.get(at - length..at)?).to_ascii_lowercase());
        }
        let name = labels.join(".");
        let kind = u16::from_be_bytes(question.get(at..at + 2)?.try_into().ok()?);
        let records = self.records();
        let found = records.get(&(name.clone(), kind)).cloned().unwrap_or_default();
        let is_known = records.keys().any(|(known, _)| *known == name);
        let mut answer = question.get(..at + 4)?.to_vec();
        // An answer, recursion available; 3: there is no such name.
        answer[2] |= 0x80;
        answer[3] = if is_known { 0x80 } else { 0x83 };
        answer[6..8].copy_from_slice(&u16::try_from(found.len()).ok()?.to_be_bytes());
        answer[8..12].fill(0);
        for (ttl, data) in found {
            // The name of the question, which is at the twelfth byte.
            answer.extend_from_slice(&[0xc0, 12]);
            answer.extend_from_slice(&kind.to_be_bytes());
            answer.extend_from_slice(&[0, 1]);
            answer.extend_from_slice(&ttl.to_be_bytes());
            answer.extend_from_slice(&u16::try_from(data.len()).ok()?.to_be_bytes());
            answer.extend_from_slice(&data);
        }
        Some(answer)
    }
}

fn serve(socket: &UdpSocket, zone: &Zone) {
    let mut buffer = [0; 4096];
    while !zone.ended.load(Ordering::SeqCst) {
        let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
        zone.questions.fetch_add(1, Ordering::SeqCst);
        if zone.silent.load(Ordering::SeqCst) {
            continue;
        }
        if let Some(mut answer) = zone.answer(&buffer[..length]) {
            if zone.cuts.load(Ordering::SeqCst) {
                cut(&mut answer, &buffer[..length]);
            }
            socket.send_to(&answer, from).ok();
        }
    }
}

/// The question alone, marked as a part of the answer.
fn cut(answer: &mut Vec<u8>, question: &[u8]) {
    let name = question.iter().skip(12).position(|length| *length == 0).unwrap_or(0);
    answer.truncate(12 + name + 5);
    answer[2] |= 2;
    answer[6..8].fill(0);
}

/// Sockets of both kinds at one port.
fn sockets() -> (UdpSocket, TcpListener) {
    loop {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback has a free port");
        let address = socket.local_addr().expect("it is bound");
        // The port may be somebody's for TCP.
        if let Ok(listener) = TcpListener::bind(address) {
            return (socket, listener);
        }
    }
}

fn accept(listener: &TcpListener, zone: &Arc<Zone>) {
    while let Ok((stream, _)) = listener.accept() {
        if zone.ended.load(Ordering::SeqCst) {
            return;
        }
        let zone = Arc::clone(zone);
        std::thread::spawn(move || converse(stream, &zone));
    }
}

/// Answers what comes on one connection, until its other end closes it.
fn converse(mut stream: TcpStream, zone: &Zone) -> Option<()> {
    loop {
        let mut length = [0; 2];
        stream.read_exact(&mut length).ok()?;
        let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut question).ok()?;
        zone.questions.fetch_add(1, Ordering::SeqCst);
        zone.by_tcp.fetch_add(1, Ordering::SeqCst);
        if zone.silent.load(Ordering::SeqCst) {
            continue;
        }
        let answer = zone.answer(&question)?;
        let length = u16::try_from(answer.len()).ok()?;
        stream.write_all(&[&length.to_be_bytes()[..], &answer].concat()).ok()?;
    }
}

/// A name as it stands in messages.
fn wire(name: &str) -> Vec<u8> {
    let labels = name.split('.').filter(|label| !label.is_empty());
    let mut bytes: Vec<u8> =
        labels.flat_map(|label| std::iter::once(label.len() as u8).chain(label.bytes())).collect();
    bytes.push(0);
    bytes
}

const A: u16 = 1;
const AAAA: u16 = 28;
const SRV: u16 = 33;

/// How often the server looks whether it is over.
const LOOK: Duration = Duration::from_millis(20);
