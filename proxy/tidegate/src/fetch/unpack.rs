//! Finds the module in a layer of a container image: a tar archive, mostly compressed, with `plugin.wasm` in it.
//!
//! Nothing is written to disk; what is read has a limit, whatever the archive claims.

use std::io::{self, Read};

use flate2::read::MultiGzDecoder;

/// The bytes of `plugin.wasm` in an archive.
pub(crate) fn plugin_wasm(layer: &[u8], limit: usize) -> Result<Vec<u8>, String> {
    let told = |error: io::Error| format!("the image's layer cannot be unpacked: {error}");
    if layer.starts_with(&[0x1f, 0x8b]) {
        find(MultiGzDecoder::new(layer), limit).map_err(told)?
    } else {
        find(layer, limit).map_err(told)?
    }
    .ok_or_else(|| format!("the image's layer has no file {NAME}"))
}

fn find(mut archive: impl Read, limit: usize) -> io::Result<Option<Vec<u8>>> {
    let wrong = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
    // An archive may hold other files; all together they must not be endless.
    let mut left = (limit as u64).saturating_mul(4);
    let mut header = [0; BLOCK];
    loop {
        match fill(&mut archive, &mut header)? {
            0 => return Ok(None),
            BLOCK => {}
            _ => return Err(wrong("it ends inside of a header")),
        }
        if header.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let size = size(&header).ok_or_else(|| wrong("it is not a tar archive"))?;
        let padded = size.div_ceil(BLOCK as u64).saturating_mul(BLOCK as u64);
        left = left.checked_sub(padded).ok_or_else(|| wrong("it is too large"))?;
        let is_file = matches!(header[156], b'0' | 0 | b'7');
        if is_file && name(&header) == NAME.as_bytes() {
            if size > limit as u64 {
                return Err(wrong(&format!("{NAME} has {size} bytes, more than {limit}")));
            }
            let mut module = Vec::new();
            archive.by_ref().take(size).read_to_end(&mut module)?;
            if (module.len() as u64) < size {
                return Err(wrong(&format!("it ends inside of {NAME}")));
            }
            return Ok(Some(module));
        }
        let skipped = io::copy(&mut archive.by_ref().take(padded), &mut io::sink())?;
        if skipped < padded {
            return Err(wrong("it ends inside of a file"));
        }
    }
}

/// Reads until the buffer is full or nothing is left.
fn fill(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match from.read(rest)? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(filled)
}

/// The last part of the file's path.
fn name(header: &[u8; BLOCK]) -> &[u8] {
    let path = header[..100].split(|byte| *byte == 0).next().unwrap_or_default();
    path.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
}

/// The file's size: octal digits.
fn size(header: &[u8; BLOCK]) -> Option<u64> {
    let text = std::str::from_utf8(&header[124..136]).ok()?;
    u64::from_str_radix(text.trim_matches([' ', '\0']), 8).ok()
}

/// What tar archives are made of.
const BLOCK: usize = 512;

/// The file that image tools put the module into.
const NAME: &str = "plugin.wasm";

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write as _;

    /// A tar archive of these files.
    pub(crate) fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut archive = Vec::new();
        for (name, content) in files {
            let mut header = [0; BLOCK];
            header[..name.len()].copy_from_slice(name.as_bytes());
            header[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
            header[156] = b'0';
            archive.extend(header);
            archive.extend(*content);
            archive.resize(archive.len().next_multiple_of(BLOCK), 0);
        }
        archive.resize(archive.len() + 2 * BLOCK, 0);
        archive
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).expect("memory takes all");
        encoder.finish().expect("memory takes all")
    }

    #[test]
    fn the_module_is_found_among_other_files() {
        let archive = tar(&[("etc/x", &[1; 700]), ("./plugin.wasm", b"module"), ("z", b"")]);
        assert!(plugin_wasm(&archive, 100).is_err_and(|why| why.contains("too large")));
        assert_eq!(plugin_wasm(&archive, 1000).as_deref(), Ok(&b"module"[..]));
        assert_eq!(plugin_wasm(&gzip(&archive), 1000).as_deref(), Ok(&b"module"[..]));
    }

    #[test]
    fn whatever_is_cut_off_or_no_archive_is_an_error() {
        let archive = tar(&[("a", &[1; 600]), ("plugin.wasm", &[2; 600])]);
        for end in [0, 1, 511, 512, 600, 1536, 1600, 2048, 2600] {
            assert!(plugin_wasm(&archive[..end], 10_000).is_err(), "{end}");
        }
        let whole = gzip(&archive);
        for end in 2..whole.len() / 2 {
            assert!(plugin_wasm(&whole[..end], 10_000).is_err(), "{end}");
        }
        assert!(plugin_wasm(&[b'x'; 2000], 10_000).is_err());
        assert!(plugin_wasm(&tar(&[("plugin.wasm", &[2; 600])]), 599).is_err(), "a module over the limit");
    }

    #[test]
    fn a_bomb_is_refused_after_its_limit() {
        let bomb = gzip(&tar(&[("zeros", &vec![0; 20 << 20]), ("plugin.wasm", b"m")]));
        assert!(plugin_wasm(&bomb, 1 << 20).is_err_and(|why| why.contains("too large")));
    }
}
