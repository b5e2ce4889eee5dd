//! One stream: its maps and buffers, and when they can be touched.

use tidegate_abi::{BufferKind, MapKind, Status};
use tidegate_sdk::Fields;
use tidegate_sdk::native::Refusal;

use super::Answer;
use crate::machine::{Part, Passed, Properties, Side};

/// One request and response, or one connection.
pub(crate) struct Stream {
    pub(crate) of_bytes: bool,
    pub(crate) properties: Properties,
    pub(crate) request: Flow,
    pub(crate) response: Flow,
    pub(crate) over: bool,
    /// Everything can be read, nothing written.
    pub(crate) logging: bool,
    pub(crate) answered: bool,
}

/// One direction.
#[derive(Default)]
pub(crate) struct Flow {
    head: Option<Fields>,
    body: Option<Vec<u8>>,
    trailers: Option<Fields>,
    /// The end has been shown, and whether it is being shown now.
    ending: bool,
    /// What went on, for the log.
    gone: Fields,
    gone_trailers: Fields,
}

impl Stream {
    pub(crate) fn new(of_bytes: bool, properties: &Properties) -> Self {
        Stream {
            of_bytes,
            properties: properties.clone(),
            request: Flow::default(),
            response: Flow::default(),
            over: false,
            logging: false,
            answered: false,
        }
    }

    pub(crate) fn flow(&mut self, side: Side) -> &mut Flow {
        match side {
            Side::Request => &mut self.request,
            Side::Response => &mut self.response,
        }
    }

    /// Puts a part where functions find it; returns the bytes that are held.
    pub(crate) fn put(&mut self, side: Side, part: Part) -> usize {
        let flow = self.flow(side);
        match part {
            Part::Head(head, end) => {
                flow.ending = end;
                flow.head = Some(head);
                0
            }
            Part::Body(bytes, end) => {
                flow.ending = end;
                let body = flow.body.get_or_insert_default();
                body.extend(bytes);
                body.len()
            }
            Part::Trailers(trailers) => {
                flow.ending = false;
                flow.trailers = Some(trailers);
                0
            }
        }
    }

    pub(crate) fn take(&mut self, side: Side) -> Passed {
        let flow = self.flow(side);
        let passed = Passed {
            head: flow.head.take(),
            body: flow.body.take().unwrap_or_default(),
            trailers: flow.trailers.take(),
        };
        if let Some(head) = &passed.head {
            flow.gone = head.clone();
        }
        if let Some(trailers) = &passed.trailers {
            flow.gone_trailers = trailers.clone();
        }
        passed
    }

    /// A map to read; hosts answer "bad argument" for one that is not here.
    pub(crate) fn read(&self, map: MapKind) -> Answer<&Fields> {
        let found = match map {
            MapKind::RequestHeaders if self.logging => Some(&self.request.gone),
            MapKind::ResponseHeaders if self.logging => Some(&self.response.gone),
            MapKind::ResponseTrailers if self.logging => Some(&self.response.gone_trailers),
            MapKind::RequestHeaders => self.request.head.as_ref(),
            MapKind::ResponseHeaders => self.response.head.as_ref(),
            MapKind::RequestTrailers => self.request.trailers.as_ref(),
            MapKind::ResponseTrailers => self.response.trailers.as_ref(),
            _ => None,
        };
        found.ok_or(Status::BadArgument.into())
    }

    /// A map to write. Trailers are made while the end of a body is shown.
    pub(crate) fn write(&mut self, map: MapKind) -> Answer<&mut Fields> {
        if self.logging {
            return Err(Status::BadArgument.into());
        }
        let trailers = |flow: &mut Flow| {
            if flow.trailers.is_none() && flow.ending && flow.body.is_some() {
                flow.trailers = Some(Fields::new());
            }
        };
        trailers(&mut self.request);
        trailers(&mut self.response);
        let found = match map {
            MapKind::RequestHeaders => self.request.head.as_mut(),
            MapKind::ResponseHeaders => self.response.head.as_mut(),
            MapKind::RequestTrailers => self.request.trailers.as_mut(),
            MapKind::ResponseTrailers => self.response.trailers.as_mut(),
            _ => None,
        };
        found.ok_or(Status::BadArgument.into())
    }

    /// A body that is here.
    pub(crate) fn body(&mut self, buffer: BufferKind) -> Answer<&mut Vec<u8>> {
        let side = match (buffer, self.of_bytes) {
            (BufferKind::RequestBody, false) | (BufferKind::DownstreamData, true) => Side::Request,
            (BufferKind::ResponseBody, false) | (BufferKind::UpstreamData, true) => Side::Response,
            _ => return Err(Status::BadArgument.into()),
        };
        self.flow(side).body.as_mut().ok_or(Status::NotFound.into())
    }

    /// Adds to a body whose trailers are here.
    pub(crate) fn append(&mut self, side: Side, bytes: &[u8]) -> Answer<()> {
        let writable = !self.of_bytes && !self.logging;
        let flow = self.flow(side);
        if !writable || flow.trailers.is_none() {
            return Err(Status::BadArgument.into());
        }
        flow.body.get_or_insert_default().extend_from_slice(bytes);
        Ok(())
    }

    pub(crate) fn property(&self, path: &[u8]) -> Option<Vec<u8>> {
        let text = String::from_utf8_lossy(path).trim_end_matches('\0').replace('\0', ".");
        if let Some((_, value)) = self.properties.iter().rev().find(|(name, _)| *name == text) {
            return Some(value.clone());
        }
        let (map, name) = text.split_once(".headers.")?;
        let map = if map == "request" { MapKind::RequestHeaders } else { MapKind::ResponseHeaders };
        self.read(map).ok()?.get(name).map(|value| value.to_vec())
    }
}

/// Writes into a body as hosts do.
pub(crate) fn write_body(body: &mut Vec<u8>, start: usize, len: usize, bytes: &[u8]) -> Answer<()> {
    let size = body.len();
    if start == 0 {
        body.splice(0..len.min(size), bytes.iter().copied());
    } else if start >= size {
        body.extend_from_slice(bytes);
    } else {
        return Err(Refusal::from(Status::BadArgument));
    }
    Ok(())
}
