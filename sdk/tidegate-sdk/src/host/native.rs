//! The host's functions natively: whatever [`Host`] the thread has. `tidegate-sdk-test` brings one.
//!
//! Without one every function answers "not offered by this host", log lines are dropped, and time stands still.

use std::cell::RefCell;
use std::rc::Rc;

use log::{Level, LevelFilter};
use tidegate_abi::{BufferKind, MapKind, MetricKind, Status, StreamKind};

use super::{Pairs, Refusal};

type Answer<T> = Result<T, Refusal>;

thread_local! {
    static HOST: RefCell<Option<Rc<dyn Host>>> = const { RefCell::new(None) };
}

/// Gives this thread a host, or takes it away; returns the one that it had.
pub fn install(host: Option<Rc<dyn Host>>) -> Option<Rc<dyn Host>> {
    HOST.with(|slot| slot.replace(host))
}

fn host() -> Option<Rc<dyn Host>> {
    HOST.with(|slot| slot.borrow().clone())
}

/// What a gateway offers to a filter, function by function as in the ABI. A refusal is the number of a status.
///
/// # Errors
/// Every function may refuse, with a status of the ABI.
#[allow(clippy::missing_errors_doc, reason = "said once for all")]
pub trait Host {
    /// Writes a line to the gateway's log.
    fn log(&self, level: Level, message: &str);
    /// The lowest level that is written.
    fn log_level(&self) -> LevelFilter;
    /// Nanoseconds since 1970.
    fn now(&self) -> u64;
    /// Fills bytes with random ones.
    fn random(&self, bytes: &mut [u8]) -> Answer<()>;
    /// How often the plugin is told that time has passed; 0 for never.
    fn set_tick_period(&self, milliseconds: u32) -> Answer<()>;
    /// In whose name the next functions act.
    fn set_effective_context(&self, id: u32) -> Answer<()>;
    /// A part of a buffer.
    fn buffer(&self, kind: BufferKind, start: usize, max: usize) -> Answer<Vec<u8>>;
    /// Replaces a part of a buffer.
    fn set_buffer(&self, kind: BufferKind, start: usize, len: usize, bytes: &[u8]) -> Answer<()>;
    /// The first value of a header.
    fn header(&self, map: MapKind, name: &str) -> Answer<Option<Vec<u8>>>;
    /// All headers of a map.
    fn headers(&self, map: MapKind) -> Answer<Pairs>;
    /// Replaces all headers of a map.
    fn set_headers(&self, map: MapKind, pairs: &[(Vec<u8>, Vec<u8>)]) -> Answer<()>;
    /// Gives a header one value.
    fn set_header(&self, map: MapKind, name: &str, value: &[u8]) -> Answer<()>;
    /// Adds a value.
    fn add_header(&self, map: MapKind, name: &str, value: &[u8]) -> Answer<()>;
    /// Removes a header.
    fn remove_header(&self, map: MapKind, name: &str) -> Answer<()>;
    /// A property, its path's segments joined by zero bytes.
    fn property(&self, path: &[u8]) -> Answer<Option<Vec<u8>>>;
    /// Sets a property.
    fn set_property(&self, path: &[u8], value: &[u8]) -> Answer<()>;
    /// Lets go what is held.
    fn continue_stream(&self, stream: StreamKind) -> Answer<()>;
    /// Breaks a stream off.
    fn close_stream(&self, stream: StreamKind) -> Answer<()>;
    /// Answers the client.
    fn send_reply(
        &self,
        status: u16,
        details: &str,
        body: &[u8],
        headers: &[(Vec<u8>, Vec<u8>)],
        grpc: i32,
    ) -> Answer<()>;
    /// Sends a request; returns its token.
    fn http_call(
        &self,
        upstream: &str,
        headers: &[(Vec<u8>, Vec<u8>)],
        body: &[u8],
        trailers: &[(Vec<u8>, Vec<u8>)],
        timeout: u32,
    ) -> Answer<u32>;
    /// Calls a method: upstream, service, method.
    fn grpc_call(
        &self,
        to: [&str; 3],
        metadata: &[(Vec<u8>, Vec<u8>)],
        message: &[u8],
        timeout: u32,
    ) -> Answer<u32>;
    /// Opens a stream: upstream, service, method.
    fn grpc_stream(&self, to: [&str; 3], metadata: &[(Vec<u8>, Vec<u8>)]) -> Answer<u32>;
    /// Sends a message on a stream.
    fn grpc_send(&self, token: u32, message: &[u8], end: bool) -> Answer<()>;
    /// Breaks a call off.
    fn grpc_cancel(&self, token: u32) -> Answer<()>;
    /// Ends a stream.
    fn grpc_close(&self, token: u32) -> Answer<()>;
    /// How the last call ended.
    fn status(&self) -> Answer<(u32, Vec<u8>)>;
    /// A shared value with its version.
    fn shared(&self, key: &str) -> Answer<Option<(Vec<u8>, u32)>>;
    /// Sets a shared value; version 0 in any case.
    fn set_shared(&self, key: &str, value: &[u8], version: u32) -> Answer<()>;
    /// Makes a queue.
    fn register_queue(&self, name: &str) -> Answer<u32>;
    /// Finds a queue.
    fn resolve_queue(&self, owner: &str, name: &str) -> Answer<u32>;
    /// Puts an entry.
    fn enqueue(&self, id: u32, value: &[u8]) -> Answer<()>;
    /// Takes an entry.
    fn dequeue(&self, id: u32) -> Answer<Vec<u8>>;
    /// Makes a metric.
    fn define_metric(&self, kind: MetricKind, name: &str) -> Answer<u32>;
    /// Adds to a metric.
    fn increment_metric(&self, id: u32, offset: i64) -> Answer<()>;
    /// Records a value.
    fn record_metric(&self, id: u32, value: u64) -> Answer<()>;
    /// A metric's value.
    fn metric(&self, id: u32) -> Answer<u64>;
    /// Calls a function of the host by name.
    fn foreign(&self, name: &str, arguments: &[u8]) -> Answer<Vec<u8>>;
}

/// The same names as on wasm32.
pub(crate) mod calls {
    use super::*;

    pub(crate) fn log(level: Level, message: &str) {
        if let Some(host) = host() {
            host.log(level, message);
        }
    }

    pub(crate) fn log_level() -> LevelFilter {
        host().map_or(LevelFilter::Off, |host| host.log_level())
    }

    pub(crate) fn now() -> u64 {
        host().map_or(0, |host| host.now())
    }

    pub(crate) fn random(bytes: &mut [u8]) -> Answer<()> {
        host().ok_or(Refusal::from(Status::Unimplemented))?.random(bytes)
    }

    pub(crate) fn set_tick_period(milliseconds: u32) -> Answer<()> {
        host().ok_or(Refusal::from(Status::Unimplemented))?.set_tick_period(milliseconds)
    }

    pub(crate) fn set_effective_context(id: u32) -> Answer<()> {
        host().ok_or(Refusal::from(Status::Unimplemented))?.set_effective_context(id)
    }

    pub(crate) fn buffer(kind: BufferKind, start: usize, max: usize) -> Answer<Vec<u8>> {
        host().ok_or(Refusal::from(Status::Unimplemented))?.buffer(kind, start, max)
    }

    pub(crate) fn set_buffer(kind: BufferKind, start: usize, len: usize, bytes: &[u8]) -> Answer<()> {
        host().ok_or(Refusal::from(Status::Unimplemented))?.set_buffer(kind, start, len, bytes)
    }

    pub(crate) fn header(map: MapKind, name: &str) -> Answer<Option<Vec<u8>>> {
        host().ok_or(Refusal::from(Status::Unimplemented))?.header(map, name)
    }

    pub(crate) fn headers(map: MapKind) -> Answer<Pairs> {
        host().ok_or(Refusal::from(Status::Unimplemented))?.headers(map)
    }

    pub(crate) fn each_header(map: MapKind, mut show: impl FnMut(&[u8], &[u8])) -> Answer<()> {
        headers(map)?.iter().for_each(|(name, value)| show(name, value));
        Ok(())
    }

    pub(crate) fn set_headers(map: MapKind, pairs: &[(Vec<u8>, Vec<u8>)]) -> Answer<()> {
        host().ok_or(Refusal::from(Status::Unimplemented))?.set_headers(map, pairs)
    }

    pub(crate) fn set_header(map: MapKind, name: &str, value: &[u8]) -> Answer<()> {
        host().ok_or(Refusal::from(Status::Unimplemented))?.set_header(map, name, value)
    }

    pub(crate) fn add_header(map: MapKind, name: &str, value: &[u8]) -> Answer<()> {
        host().ok_or(Refusal::from(Status::Unimplemented))?.add_header(map, name, value)
    }

    pub(crate) fn remove_header(map: MapKind, name: &str) -> Answer<()> {
        host().ok_or(Refusal::from(Status::Unimplemented))?.remove_header(map, name)
    }

    pub(crate) fn property(path: &[u8]) -> Answer<Option<Vec<u8>>> {
        host().ok_or(Refusal::from(Status::Unimplemented))?.property(path)
    }

    pub(crate) fn set_property(path: &[u8], value: &[u8]) -> Answer<()> {
        host().ok_or(Refusal::from(Status::Unimplemented))?.set_property(path, value)
    }

    pub(crate) fn continue_stream(stream: StreamKind) -> Answer<()> {
        host().ok_or(Refusal::from(Status::Unimplemented))?.continue_stream(stream)
    }

    pub(crate) fn close_stream(stream: StreamKind) -> Answer<()> {
        host().ok_or(Refusal::from(Status::Unimplemented))?.close_stream(stream)
    }

    pub(crate) fn send_reply(
        status: u16,
        details: &str,
        body: &[u8],
        headers: &[(Vec<u8>, Vec<u8>)],
        grpc: i32,
    ) -> Answer<()> {
        host().ok_or(Refusal::from(Status::Unimplemented))?.send_reply(status, details, body, headers, grpc)
    }

    pub(crate) fn http_call(
        upstream: &str,
        headers: &[(Vec<u8>, Vec<u8>)],
        body: &[u8],
        trailers: &[(Vec<u8>, Vec<u8>)],
        timeout: u32,
    ) -> Answer<u32> {
        host()
            .ok_or(Refusal::from(Status::Unimplemented))?
            .http_call(upstream, headers, body, trailers, timeout)
    }

    pub(crate) fn grpc_call(
        to: [&str; 3],
        metadata: &[(Vec<u8>, Vec<u8>)],
        message: &[u8],
        timeout: u32,
    ) -> Answer<u32> {
        host().ok_or(Refusal::from(Status::Unimplemented))?.grpc_call(to, metadata, message, timeout)
    }

    pub(crate) fn grpc_stream(to: [&str; 3], metadata: &[(Vec<u8>, Vec<u8>)]) -> Answer<u32> {
        host().ok_or(Refusal::from(Status::Unimplemented))?.grpc_stream(to, metadata)
    }

    pub(crate) fn grpc_send(token: u32, message: &[u8], end: bool) -> Answer<()> {
        host().ok_or(Refusal::from(Status::Unimplemented))?.grpc_send(token, message, end)
    }

    pub(crate) fn grpc_cancel(token: u32) -> Answer<()> {
        host().ok_or(Refusal::from(Status::Unimplemented))?.grpc_cancel(token)
    }

    pub(crate) fn grpc_close(token: u32) -> Answer<()> {
        host().ok_or(Refusal::from(Status::Unimplemented))?.grpc_close(token)
    }

    pub(crate) fn status() -> Answer<(u32, Vec<u8>)> {
        host().ok_or(Refusal::from(Status::Unimplemented))?.status()
    }

    pub(crate) fn shared(key: &str) -> Answer<Option<(Vec<u8>, u32)>> {
        host().ok_or(Refusal::from(Status::Unimplemented))?.shared(key)
    }

    pub(crate) fn set_shared(key: &str, value: &[u8], version: u32) -> Answer<()> {
        host().ok_or(Refusal::from(Status::Unimplemented))?.set_shared(key, value, version)
    }

    pub(crate) fn register_queue(name: &str) -> Answer<u32> {
        host().ok_or(Refusal::from(Status::Unimplemented))?.register_queue(name)
    }

    pub(crate) fn resolve_queue(owner: &str, name: &str) -> Answer<u32> {
        host().ok_or(Refusal::from(Status::Unimplemented))?.resolve_queue(owner, name)
    }

    pub(crate) fn enqueue(id: u32, value: &[u8]) -> Answer<()> {
        host().ok_or(Refusal::from(Status::Unimplemented))?.enqueue(id, value)
    }

    pub(crate) fn dequeue(id: u32) -> Answer<Vec<u8>> {
        host().ok_or(Refusal::from(Status::Unimplemented))?.dequeue(id)
    }

    pub(crate) fn define_metric(kind: MetricKind, name: &str) -> Answer<u32> {
        host().ok_or(Refusal::from(Status::Unimplemented))?.define_metric(kind, name)
    }

    pub(crate) fn increment_metric(id: u32, offset: i64) -> Answer<()> {
        host().ok_or(Refusal::from(Status::Unimplemented))?.increment_metric(id, offset)
    }

    pub(crate) fn record_metric(id: u32, value: u64) -> Answer<()> {
        host().ok_or(Refusal::from(Status::Unimplemented))?.record_metric(id, value)
    }

    pub(crate) fn metric(id: u32) -> Answer<u64> {
        host().ok_or(Refusal::from(Status::Unimplemented))?.metric(id)
    }

    pub(crate) fn foreign(name: &str, arguments: &[u8]) -> Answer<Vec<u8>> {
        host().ok_or(Refusal::from(Status::Unimplemented))?.foreign(name, arguments)
    }
}
