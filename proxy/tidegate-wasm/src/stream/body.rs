//! The bytes of a body that a guest can see. A chunk that nobody touches is never copied.

use crate::limits::BODY_BYTES;
use bytes::{Bytes, BytesMut};
use tidegate_abi::Status;

/// One chunk as it came, or several put together.
#[derive(Debug)]
pub(crate) enum Body {
    Whole(Bytes),
    Joined(BytesMut),
}

impl Default for Body {
    fn default() -> Self {
        Self::Whole(Bytes::new())
    }
}

impl Body {
    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            Self::Whole(bytes) => bytes,
            Self::Joined(bytes) => bytes,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.as_slice().len()
    }

    pub(crate) fn push(&mut self, chunk: Bytes) {
        if chunk.is_empty() {
            return;
        }
        if self.len() == 0 {
            *self = Self::Whole(chunk);
        } else {
            self.append(&chunk);
        }
    }

    pub(crate) fn truncate(&mut self, len: usize) {
        match self {
            Self::Whole(bytes) => bytes.truncate(len),
            Self::Joined(bytes) => bytes.truncate(len),
        }
    }

    pub(crate) fn take(&mut self) -> Bytes {
        match std::mem::take(self) {
            Self::Whole(bytes) => bytes,
            Self::Joined(bytes) => bytes.freeze(),
        }
    }

    /// What there is, held by both: a later write copies it.
    pub(crate) fn share(&mut self) -> Bytes {
        let bytes = self.take();
        *self = Self::Whole(bytes.clone());
        bytes
    }

    /// Writes as `proxy_set_buffer_bytes` does in the field: at the start before what is there, or
    /// instead of its first `len` bytes, or of all; from the end on behind it.
    pub(crate) fn write(&mut self, start: u32, len: u32, bytes: &[u8]) -> Result<(), Status> {
        let (start, len, size) = (start as usize, len as usize, self.len());
        if size.saturating_add(bytes.len()) > BODY_BYTES {
            return Err(Status::BadArgument);
        }
        if start == 0 && len >= size && (len > 0 || size == 0) {
            *self = Self::Whole(Bytes::copy_from_slice(bytes));
        } else if start == 0 {
            let rest = self.as_slice().get(len..).unwrap_or_default();
            let mut new = BytesMut::with_capacity(bytes.len() + rest.len());
            new.extend_from_slice(bytes);
            new.extend_from_slice(rest);
            *self = Self::Joined(new);
        } else if start >= size {
            self.append(bytes);
        } else {
            return Err(Status::BadArgument);
        }
        Ok(())
    }

    /// Copies what is there only if somebody else holds it too.
    fn append(&mut self, more: &[u8]) {
        let mut joined = match std::mem::take(self) {
            Self::Joined(joined) => joined,
            Self::Whole(whole) => whole.try_into_mut().unwrap_or_else(|shared| {
                let mut copy = BytesMut::with_capacity((shared.len() + more.len()).next_power_of_two());
                copy.extend_from_slice(&shared);
                copy
            }),
        };
        joined.extend_from_slice(more);
        *self = Self::Joined(joined);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(start: u32, len: u32, bytes: &str) -> Result<String, Status> {
        let mut body = Body::default();
        body.push(Bytes::from_static(b"hello "));
        body.push(Bytes::from_static(b"world"));
        body.write(start, len, bytes.as_bytes())?;
        Ok(String::from_utf8(body.take().to_vec()).unwrap())
    }

    #[test]
    fn writing_goes_before_behind_or_instead() {
        let cases = [
            (0, 0, "a ", "a hello world"),
            (0, 11, "new", "new"),
            (0, u32::MAX, "new", "new"),
            (0, 5, "goodbye", "goodbye world"),
            (11, 0, "!", "hello world!"),
            (u32::MAX, 7, "!", "hello world!"),
            (0, 11, "", ""),
        ];
        for (start, len, bytes, want) in cases {
            assert_eq!(written(start, len, bytes).as_deref(), Ok(want), "{start} {len}");
        }
        assert_eq!(written(3, 2, "x"), Err(Status::BadArgument));
    }

    #[test]
    fn a_lone_chunk_is_not_copied() {
        let chunk = Bytes::from(vec![1; 100]);
        let at = chunk.as_ptr();
        let mut body = Body::default();
        body.push(chunk);
        body.push(Bytes::new());
        assert_eq!(body.take().as_ptr(), at);
        assert_eq!(body.len(), 0);
    }

    #[test]
    fn a_body_can_be_cut_and_has_a_limit() {
        let mut body = Body::default();
        body.push(Bytes::from_static(b"abc"));
        body.truncate(2);
        assert_eq!(body.as_slice(), b"ab");
        assert_eq!(body.write(2, 0, &vec![0; BODY_BYTES]), Err(Status::BadArgument));
    }
}
