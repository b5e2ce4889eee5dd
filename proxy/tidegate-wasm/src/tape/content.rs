//! Bytes and fields as a tape holds them, readable where they are text, and what is left of them when they are redacted.

use super::{Event, Tape};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use std::{fmt::Write as _, slice::from_mut};

/// Bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Content {
    /// Of a text.
    Text(String),
    /// Others, in hexadecimal.
    Hex {
        /// Two digits each.
        hex: String,
    },
    /// Taken out; there were so many.
    Redacted {
        /// How many.
        redacted: usize,
    },
}

/// A header field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Field(
    /// The name.
    pub String,
    /// The value.
    pub Content,
);

impl Field {
    pub(crate) fn new(name: &str, value: &[u8]) -> Self {
        Self(name.to_owned(), Content::of(value))
    }
}

impl Content {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Hex { hex: crate::engine::hex(bytes) },
        }
    }

    /// The bytes; as many `x` for what was taken out. None: it is no hexadecimal.
    #[must_use]
    pub fn bytes(&self) -> Option<Vec<u8>> {
        match self {
            Self::Text(text) => Some(text.clone().into_bytes()),
            Self::Hex { hex } => (0..hex.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok())
                .collect(),
            // A record is read from a file: it may claim any length.
            Self::Redacted { redacted } => Some(vec![b'x'; (*redacted).min(LONGEST)]),
        }
    }

    /// How many bytes they are.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Hex { hex } => hex.len() / 2,
            Self::Redacted { redacted } => *redacted,
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn redact(&mut self) {
        *self = Self::Redacted { redacted: self.len() };
    }
}

impl std::fmt::Display for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Hex { hex } => write!(f, "0x{hex}"),
            Self::Redacted { redacted } => write!(f, "({redacted} bytes redacted)"),
        }
    }
}

impl Tape {
    /// Takes out the values of the fields that `is_secret` names, and bodies if `bodies`.
    pub fn redact(&mut self, is_secret: impl Fn(&str) -> bool, bodies: bool) {
        for note in &mut self.notes {
            let (headers, contents) = note.event.parts_mut();
            for Field(name, value) in headers.into_iter().flatten() {
                if is_secret(name) {
                    value.redact();
                }
            }
            if bodies {
                contents.iter_mut().for_each(Content::redact);
            }
        }
    }
}

impl Event {
    /// The fields and the bytes of an event.
    fn parts_mut(&mut self) -> ([&mut [Field]; 2], &mut [Content]) {
        match self {
            Self::RequestHeaders { headers, .. }
            | Self::ResponseHeaders { headers, .. }
            | Self::Trailers { headers, .. }
            | Self::GrpcHead { headers, .. }
            | Self::GrpcTrailers { headers, .. }
            | Self::RequestLeft { headers }
            | Self::ResponseLeft { headers }
            | Self::TrailersLeft { headers, .. } => ([headers, &mut []], &mut []),
            Self::Body { body, .. }
            | Self::BodyLeft { body, .. }
            | Self::Data { body, .. }
            | Self::ForeignResult { body, .. }
            | Self::GrpcMessage { body, .. }
            | Self::GrpcSent { body, .. } => ([&mut [], &mut []], from_mut(body)),
            Self::Reply { headers, body, .. } | Self::Call { headers, body, .. } => {
                ([headers, &mut []], from_mut(body))
            }
            Self::GrpcCall { headers, messages, .. } => ([headers, &mut []], messages),
            Self::Answer { headers, body, trailers, .. } => {
                ([headers.as_deref_mut().unwrap_or_default(), trailers], from_mut(body))
            }
            _ => ([&mut [], &mut []], &mut []),
        }
    }

    /// About how much it holds.
    pub(super) fn size(&self) -> usize {
        let fields =
            |fields: &[Field]| fields.iter().map(|field| field.0.len() + field.1.len() + 8).sum::<usize>();
        64 + match self {
            Self::RequestHeaders { headers, .. }
            | Self::ResponseHeaders { headers, .. }
            | Self::Trailers { headers, .. }
            | Self::GrpcHead { headers, .. }
            | Self::GrpcTrailers { headers, .. }
            | Self::RequestLeft { headers }
            | Self::ResponseLeft { headers }
            | Self::TrailersLeft { headers, .. } => fields(headers),
            Self::Body { body, .. }
            | Self::BodyLeft { body, .. }
            | Self::Data { body, .. }
            | Self::ForeignResult { body, .. }
            | Self::GrpcMessage { body, .. }
            | Self::GrpcSent { body, .. } => body.len(),
            Self::Reply { headers, body, .. } | Self::Call { headers, body, .. } => {
                fields(headers) + body.len()
            }
            Self::GrpcCall { headers, messages, .. } => {
                fields(headers) + messages.iter().map(Content::len).sum::<usize>()
            }
            Self::Answer { headers, body, trailers, .. } => {
                headers.as_deref().map_or(0, fields) + body.len() + fields(trailers)
            }
            Self::Log { message, .. } | Self::GrpcClosed { message, .. } | Self::Trap { message } => {
                message.len()
            }
            _ => 0,
        }
    }
}

/// The value of a pseudo field.
pub(super) fn pseudo(list: &[Field], name: &str) -> Option<String> {
    let found = list.iter().find(|field| field.0 == name)?;
    let mut text = String::new();
    write!(text, "{}", found.1).ok()?;
    Some(text)
}

/// The fields that are no pseudo fields. None: they are no fields.
pub(super) fn map(list: &[Field]) -> Option<HeaderMap> {
    let mut map = HeaderMap::with_capacity(list.len());
    for Field(name, value) in list.iter().filter(|field| !field.0.starts_with(':')) {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        map.append(name, HeaderValue::from_bytes(&value.bytes()?).ok()?);
    }
    Some(map)
}

/// Bytes of what was taken out at most.
const LONGEST: usize = 16 << 20;
