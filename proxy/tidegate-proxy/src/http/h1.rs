//! What HTTP/1 has in common on both sides of the gateway (RFC 9112): the fields of a head, bodies and their framing, and
//! a message on its way out. Towards clients it is used by `conn/http1`, towards servers by `upstream/http1`.

mod body;
mod date;
mod encode;
mod fields;
mod inlet;
mod names;
mod outlet;
#[cfg(test)]
pub(crate) mod pieces;

pub(crate) use self::body::{Decoder, Part};
pub(crate) use self::date::Date;
#[cfg(test)]
pub(crate) use self::encode::{chunk_start, last_chunk};
pub(crate) use self::encode::{field, number};
pub(crate) use self::fields::{Garbage, Lines, MAX_FIELDS, Said, has_end, read_fields};
pub(crate) use self::inlet::{Inlet, READ};
pub(crate) use self::outlet::{Outlet, SendFault};

/// How a body is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// This many bytes.
    Length(u64),
    /// In chunks.
    Chunked,
    /// Up to the end of the connection.
    Close,
}
