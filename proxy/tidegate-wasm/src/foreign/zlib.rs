//! Compression as `compress` and `uncompress` offer it: zlib's format (RFC 1950).

use flate2::{Compression, read::ZlibDecoder, write::ZlibEncoder};
use std::io::{Read, Write};
use tidegate_abi::Status;

/// Bytes that may be compressed at once: this is the gateway's time, not the guest's.
const PLAIN_BYTES: usize = 8 << 20;

/// Bytes that may come out of compressed ones.
const UNPACKED_BYTES: u64 = 8 << 20;

/// Compresses.
pub(crate) fn compress(bytes: &[u8]) -> Result<Vec<u8>, Status> {
    if bytes.len() > PLAIN_BYTES {
        return Err(Status::SerializationFailure);
    }
    let mut encoder = ZlibEncoder::new(Vec::with_capacity(bytes.len() / 2 + 64), Compression::default());
    encoder.write_all(bytes).map_err(|_| Status::SerializationFailure)?;
    encoder.finish().map_err(|_| Status::SerializationFailure)
}

/// Undoes it. What is broken, cut off or too large is refused.
pub(crate) fn uncompress(bytes: &[u8]) -> Result<Vec<u8>, Status> {
    let mut plain = Vec::new();
    let read = ZlibDecoder::new(bytes).take(UNPACKED_BYTES + 1).read_to_end(&mut plain);
    if read.is_err() || plain.len() as u64 > UNPACKED_BYTES {
        return Err(Status::SerializationFailure);
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_compressed_comes_back() {
        for plain in [&b""[..], b"hello", &[7; 100_000]] {
            let packed = compress(plain).unwrap();
            assert_eq!(packed.first(), Some(&0x78), "zlib's header");
            assert_eq!(uncompress(&packed).as_deref(), Ok(plain));
        }
    }

    #[test]
    fn what_is_broken_or_too_large_is_refused() {
        let packed = compress(b"hello world").unwrap();
        let mut wrong = packed.clone();
        *wrong.last_mut().unwrap() ^= 1;
        let bomb = {
            let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(&vec![0; 9 << 20]).unwrap();
            encoder.finish().unwrap()
        };
        assert!(bomb.len() < 20_000);
        for bytes in [&packed[..packed.len() - 1], &wrong, b"hello", b"", &bomb] {
            assert_eq!(uncompress(bytes), Err(Status::SerializationFailure));
        }
        assert_eq!(compress(&vec![0; PLAIN_BYTES + 1]), Err(Status::SerializationFailure));
    }
}
