//! The functions, one by one.

use std::collections::VecDeque;
use std::time::Duration;

use log::{Level, LevelFilter};
use tidegate_abi::{BufferKind, MapKind, MetricKind, Status, StreamKind};
use tidegate_limiter::wire;
use tidegate_sdk::Fields;
use tidegate_sdk::native::Host;

use super::streams::write_body;
use super::{Answer, Memory, Metric, Told};
use crate::machine::{Effect, GrpcEvent, Side};

type Pairs = [(Vec<u8>, Vec<u8>)];

/// The form in which the SDK hands over fields.
pub(crate) fn fields(pairs: &Pairs) -> Fields {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    pairs.iter().map(|(name, value)| (text(name), value.clone())).collect()
}

fn pairs(fields: &Fields) -> Vec<(Vec<u8>, Vec<u8>)> {
    fields.iter().map(|(name, value)| (name.into(), value.to_vec())).collect()
}

fn part(bytes: &[u8], start: usize, max: usize) -> Vec<u8> {
    let end = start.saturating_add(max).min(bytes.len());
    bytes.get(start.min(end)..end).unwrap_or_default().to_vec()
}

impl Host for Memory {
    fn log(&self, level: Level, message: &str) {
        self.wish(Effect::Log { level, message: message.to_owned() });
    }

    fn log_level(&self) -> LevelFilter {
        LevelFilter::Trace
    }

    fn now(&self) -> u64 {
        self.now.get()
    }

    fn random(&self, bytes: &mut [u8]) -> Answer<()> {
        // SplitMix64.
        for part in bytes.chunks_mut(8) {
            let state = self.random.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
            self.random.set(state);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            let drawn = (mixed ^ (mixed >> 31)).to_le_bytes();
            for (byte, drawn) in part.iter_mut().zip(drawn) {
                *byte = drawn;
            }
        }
        Ok(())
    }

    fn set_tick_period(&self, milliseconds: u32) -> Answer<()> {
        let period = (milliseconds > 0).then(|| Duration::from_millis(milliseconds.into()));
        self.wish(Effect::TickPeriod(period));
        Ok(())
    }

    fn set_effective_context(&self, id: u32) -> Answer<()> {
        if id != super::ROOT && !self.streams.borrow().contains_key(&id) {
            return Err(Status::BadArgument.into());
        }
        self.context.set(id);
        Ok(())
    }

    fn buffer(&self, kind: BufferKind, start: usize, max: usize) -> Answer<Vec<u8>> {
        match kind {
            BufferKind::PluginConfiguration if self.configuring.get() => Ok(part(&self.config, start, max)),
            BufferKind::VmConfiguration => Ok(Vec::new()),
            BufferKind::CallBody => match &*self.told.borrow() {
                Told::Call(answer) => {
                    Ok(answer.as_ref().map_or(Vec::new(), |answer| part(&answer.body, start, max)))
                }
                _ => Err(Status::NotFound.into()),
            },
            BufferKind::GrpcMessage => match &*self.told.borrow() {
                Told::Grpc(GrpcEvent::Message(message)) => Ok(part(message, start, max)),
                _ => Err(Status::NotFound.into()),
            },
            BufferKind::CallData => match &*self.told.borrow() {
                Told::Foreign(Ok(bytes)) => Ok(part(bytes, start, max)),
                _ => Err(Status::NotFound.into()),
            },
            BufferKind::PluginConfiguration => Err(Status::NotFound.into()),
            body => self.with_stream(|stream| stream.body(body).map(|body| part(body, start, max))),
        }
    }

    fn set_buffer(&self, kind: BufferKind, start: usize, len: usize, bytes: &[u8]) -> Answer<()> {
        self.with_stream(|stream| write_body(stream.body(kind)?, start, len, bytes))
    }

    fn header(&self, map: MapKind, name: &str) -> Answer<Option<Vec<u8>>> {
        self.with_stream(|stream| Ok(stream.read(map)?.get(name).map(|value| value.to_vec())))
    }

    fn headers(&self, map: MapKind) -> Answer<Vec<(Vec<u8>, Vec<u8>)>> {
        match map {
            MapKind::CallHeaders | MapKind::GrpcInitialMetadata => Ok(pairs(&self.told_fields(false)?)),
            MapKind::CallTrailers | MapKind::GrpcTrailingMetadata => Ok(pairs(&self.told_fields(true)?)),
            map => self.with_stream(|stream| Ok(stream.read(map).map_or(Vec::new(), pairs))),
        }
    }

    fn set_headers(&self, map: MapKind, pairs: &Pairs) -> Answer<()> {
        self.with_stream(|stream| {
            *stream.write(map)? = fields(pairs);
            Ok(())
        })
    }

    fn set_header(&self, map: MapKind, name: &str, value: &[u8]) -> Answer<()> {
        self.with_stream(|stream| {
            let map = stream.write(map)?;
            if name.starts_with(':') {
                // Pseudo-headers stay where they are, before the others.
                *map = map
                    .iter()
                    .map(|(known, old)| {
                        (known.to_owned(), if known == name { value.into() } else { old.clone() })
                    })
                    .collect();
            } else {
                map.set(name.to_ascii_lowercase(), value);
            }
            Ok(())
        })
    }

    fn add_header(&self, map: MapKind, name: &str, value: &[u8]) -> Answer<()> {
        self.with_stream(|stream| {
            stream.write(map)?.add(name.to_ascii_lowercase(), value);
            Ok(())
        })
    }

    fn remove_header(&self, map: MapKind, name: &str) -> Answer<()> {
        self.with_stream(|stream| {
            stream.write(map)?.remove(name);
            Ok(())
        })
    }

    fn property(&self, path: &[u8]) -> Answer<Option<Vec<u8>>> {
        match path {
            b"plugin_name" => return Ok(Some(b"test".to_vec())),
            b"plugin_root_id" => return Ok(Some(Vec::new())),
            b"plugin_held_body" if self.feeds => return Ok(Some(HELD_BODY.to_le_bytes().to_vec())),
            _ => {}
        }
        let streams = self.streams.borrow();
        Ok(streams.get(&self.context.get()).and_then(|stream| stream.property(path)))
    }

    fn set_property(&self, path: &[u8], value: &[u8]) -> Answer<()> {
        let name = String::from_utf8_lossy(path).into_owned();
        let mut streams = self.streams.borrow_mut();
        let stream = streams.get_mut(&self.context.get()).ok_or(Status::NotFound)?;
        stream.properties.push((name, value.to_vec()));
        Ok(())
    }

    fn continue_stream(&self, stream: StreamKind) -> Answer<()> {
        let side = match stream {
            StreamKind::Request | StreamKind::Downstream => Side::Request,
            StreamKind::Response => Side::Response,
            StreamKind::Upstream => return Err(Status::Unimplemented.into()),
        };
        self.with_stream(|_| Ok(()))?;
        self.wish(Effect::Resume { stream: self.context.get(), side });
        Ok(())
    }

    fn close_stream(&self, _: StreamKind) -> Answer<()> {
        self.with_stream(|stream| {
            stream.over = true;
            Ok(())
        })?;
        self.wish(Effect::Close { stream: self.context.get(), details: String::new() });
        Ok(())
    }

    fn send_reply(&self, status: u16, details: &str, body: &[u8], headers: &Pairs, grpc: i32) -> Answer<()> {
        let first = self.with_stream(|stream| Ok(!std::mem::replace(&mut stream.answered, true)))?;
        if first {
            self.wish(Effect::Reply {
                stream: self.context.get(),
                status,
                headers: fields(headers),
                body: body.to_vec(),
                details: details.to_owned(),
                grpc_status: u32::try_from(grpc).ok(),
            });
        }
        Ok(())
    }

    fn http_call(
        &self,
        upstream: &str,
        headers: &Pairs,
        body: &[u8],
        trailers: &Pairs,
        timeout: u32,
    ) -> Answer<u32> {
        let headers = fields(headers);
        let complete = [":method", ":path", ":authority"].iter().all(|name| headers.get(name).is_some());
        if upstream.is_empty() || !complete {
            return Err(Status::BadArgument.into());
        }
        let token = self.next_id();
        self.wish(Effect::HttpCall {
            token,
            upstream: upstream.to_owned(),
            headers,
            body: body.to_vec(),
            trailers: fields(trailers),
            timeout: Duration::from_millis(timeout.into()),
        });
        Ok(token)
    }

    fn grpc_call(&self, to: [&str; 3], metadata: &Pairs, message: &[u8], _timeout: u32) -> Answer<u32> {
        self.open_grpc(to, metadata, Some(message.to_vec()))
    }

    fn grpc_stream(&self, to: [&str; 3], metadata: &Pairs) -> Answer<u32> {
        self.open_grpc(to, metadata, None)
    }

    fn grpc_send(&self, token: u32, message: &[u8], end: bool) -> Answer<()> {
        match self.grpc.borrow().get(&token) {
            Some(true) => {}
            Some(false) => return Err(Status::BadArgument.into()),
            None => return Err(Status::NotFound.into()),
        }
        self.wish(Effect::GrpcSend { token, message: Some(message.to_vec()) });
        if end {
            self.wish(Effect::GrpcSend { token, message: None });
        }
        Ok(())
    }

    fn grpc_cancel(&self, token: u32) -> Answer<()> {
        self.grpc.borrow_mut().remove(&token).ok_or(Status::NotFound)?;
        self.wish(Effect::GrpcCancel { token });
        Ok(())
    }

    fn grpc_close(&self, token: u32) -> Answer<()> {
        self.grpc.borrow().get(&token).ok_or(Status::NotFound)?;
        self.wish(Effect::GrpcSend { token, message: None });
        Ok(())
    }

    fn status(&self) -> Answer<(u32, Vec<u8>)> {
        match &*self.told.borrow() {
            Told::Grpc(GrpcEvent::Close(status, message)) => Ok((*status, message.clone().into_bytes())),
            Told::Foreign(Err((status, message))) => Ok((*status, message.clone().into_bytes())),
            _ => Ok((0, Vec::new())),
        }
    }

    fn shared(&self, key: &str) -> Answer<Option<(Vec<u8>, u32)>> {
        Ok(self.shared.borrow().get(key).cloned())
    }

    fn set_shared(&self, key: &str, value: &[u8], version: u32) -> Answer<()> {
        let mut shared = self.shared.borrow_mut();
        if version != 0 && shared.get(key).is_some_and(|(_, known)| *known != version) {
            return Err(Status::CasMismatch.into());
        }
        self.versions.set(self.versions.get() + 1);
        shared.insert(key.to_owned(), (value.to_vec(), self.versions.get()));
        Ok(())
    }

    fn register_queue(&self, name: &str) -> Answer<u32> {
        self.resolve_queue("", name).or_else(|_| {
            let mut queues = self.queues.borrow_mut();
            queues.push((name.to_owned(), VecDeque::new()));
            Ok(u32::try_from(queues.len()).unwrap_or(u32::MAX))
        })
    }

    fn resolve_queue(&self, _owner: &str, name: &str) -> Answer<u32> {
        let at = self.queues.borrow().iter().position(|(known, _)| known == name);
        at.and_then(|at| u32::try_from(at + 1).ok()).ok_or(Status::NotFound.into())
    }

    fn enqueue(&self, id: u32, value: &[u8]) -> Answer<()> {
        let mut queues = self.queues.borrow_mut();
        let queue = (id as usize).checked_sub(1).and_then(|at| queues.get_mut(at)).ok_or(Status::NotFound)?;
        queue.1.push_back(value.to_vec());
        self.wish(Effect::QueueReady(id));
        Ok(())
    }

    fn dequeue(&self, id: u32) -> Answer<Vec<u8>> {
        let mut queues = self.queues.borrow_mut();
        let queue = (id as usize).checked_sub(1).and_then(|at| queues.get_mut(at)).ok_or(Status::NotFound)?;
        queue.1.pop_front().ok_or(Status::Empty.into())
    }

    fn define_metric(&self, kind: MetricKind, name: &str) -> Answer<u32> {
        let mut metrics = self.metrics.borrow_mut();
        let at = metrics.iter().position(|known| known.kind == kind && known.name == name);
        let at = at.unwrap_or_else(|| {
            metrics.push(Metric { kind, name: name.to_owned(), value: 0 });
            metrics.len() - 1
        });
        u32::try_from(at).map_err(|_| Status::InternalFailure.into())
    }

    fn increment_metric(&self, id: u32, offset: i64) -> Answer<()> {
        let mut metrics = self.metrics.borrow_mut();
        let metric = metrics.get_mut(id as usize).ok_or(Status::NotFound)?;
        match metric.kind {
            MetricKind::Counter if offset <= 0 => return Err(Status::BadArgument.into()),
            MetricKind::Histogram => return Err(Status::BadArgument.into()),
            _ => metric.value += offset,
        }
        Ok(())
    }

    fn record_metric(&self, id: u32, value: u64) -> Answer<()> {
        let mut metrics = self.metrics.borrow_mut();
        let metric = metrics.get_mut(id as usize).ok_or(Status::NotFound)?;
        let value = i64::try_from(value).unwrap_or(i64::MAX);
        match metric.kind {
            MetricKind::Counter => metric.value += value,
            _ => metric.value = value,
        }
        Ok(())
    }

    fn metric(&self, id: u32) -> Answer<u64> {
        let metrics = self.metrics.borrow();
        let metric = metrics.get(id as usize).ok_or(Status::NotFound)?;
        match metric.kind {
            MetricKind::Histogram => Err(Status::BadArgument.into()),
            _ => Ok(u64::from_le_bytes(metric.value.to_le_bytes())),
        }
    }

    fn foreign(&self, name: &str, arguments: &[u8]) -> Answer<Vec<u8>> {
        match name {
            // Hosts that cannot show bodies are taken for such that have no limiters either.
            wire::FUNCTION if self.feeds => self.limit(arguments),
            "clear_route_cache" => self.with_stream(|_| Ok(Vec::new())),
            // As in a host that is not Tidegate.
            _ if !self.feeds => Err(Status::NotFound.into()),
            name => self.own_function(name, arguments),
        }
    }
}

/// What a gateway holds of one body if nothing is said.
const HELD_BODY: i64 = 1 << 20;

impl Memory {
    fn open_grpc(&self, to: [&str; 3], metadata: &Pairs, message: Option<Vec<u8>>) -> Answer<u32> {
        let [upstream, service, method] = to.map(str::to_owned);
        if upstream.is_empty() {
            return Err(Status::ParseFailure.into());
        }
        let token = self.next_id();
        self.grpc.borrow_mut().insert(token, message.is_none());
        let metadata = fields(metadata);
        self.wish(Effect::GrpcCall { token, upstream, service, method, metadata, message });
        Ok(token)
    }
}
