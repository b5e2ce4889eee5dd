//! Which pages of a guest's memory were written, as the kernel knows: so that only those need to be made what they were.
//!
//! A memory is a private mapping of its image and, behind that, of zeros. A page that was never written is still the
//! file's page or the kernel's page of zeros. All others are asked for: present ones, and those that are in swap or on
//! their way to another place just now, which a page that was written is as well.
//!
//! Only where the kernel merges equal pages and takes its page of zeros for those that hold nothing else, a page that was
//! written looks as one that was not; there none is asked for at all.
//!
//! The unsafe call is `PAGEMAP_SCAN`, of Linux 6.7, for which rustix has no function. The kernel writes to the argument
//! and to the list that it names, both of which live as long as the call, and only looks at the memory's range of
//! addresses.
#![expect(unsafe_code, reason = "an ioctl without a safe function: see the head of this file")]

use rustix::ioctl::{Updater, ioctl, opcode};
use std::{fs::File, io, ops::Range, path::Path};

/// Ranges of pages that are told at most; a guest that writes to more places is not worth the while.
const RANGES: usize = 128;

/// What the kernel counts `max_pages` in, at least.
const PAGE: usize = 4096;

const FILE: u64 = 1 << 2;
const PRESENT: u64 = 1 << 3;
const SWAPPED: u64 = 1 << 4;
const ZEROS: u64 = 1 << 5;

/// `struct pm_scan_arg` of `linux/fs.h`.
#[repr(C)]
#[derive(Default)]
struct Scan {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    vec: u64,
    vec_len: u64,
    max_pages: u64,
    category_inverted: u64,
    category_mask: u64,
    category_anyof_mask: u64,
    return_mask: u64,
}

/// `struct page_region` of `linux/fs.h`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Region {
    start: u64,
    end: u64,
    categories: u64,
}

/// The kernel's table of this process's pages.
pub(crate) struct Pages(File);

impl Pages {
    /// None where the kernel does not tell.
    pub(super) fn open() -> Option<Self> {
        Self::unless_merged(Path::new("/sys/kernel/mm/ksm/use_zero_pages"))
    }

    /// The file says whether pages of zeros are merged.
    fn unless_merged(file: &Path) -> Option<Self> {
        if std::fs::read(file).is_ok_and(|text| !text.starts_with(b"0")) {
            return None;
        }
        let pages = Self(File::open("/proc/self/pagemap").ok()?);
        let known = pages.scan(&[], 1, &mut [Region::default()]);
        known.is_ok().then_some(pages)
    }

    /// The ranges of `memory` that were written. None: more than `most` bytes, in too many places, or it is not known.
    pub(crate) fn written(&self, memory: &[u8], most: usize) -> Option<Vec<Range<usize>>> {
        let mut regions = [Region::default(); RANGES];
        let walked = self.scan(memory, most / PAGE, &mut regions).ok()?;
        let start = memory.as_ptr().addr();
        if walked != start + memory.len() {
            return None;
        }
        let told = regions.iter().take_while(|region| region.end != 0);
        let within = |region: &Region| {
            let range = usize::try_from(region.start).ok()?.checked_sub(start)?
                ..usize::try_from(region.end).ok()?.checked_sub(start)?;
            memory.get(range.clone()).map(|_| range)
        };
        told.map(within).collect()
    }

    /// Fills in the regions and says where the walk ended.
    fn scan(&self, memory: &[u8], most_pages: usize, regions: &mut [Region]) -> io::Result<usize> {
        let range = memory.as_ptr_range();
        let (start, end) = match memory.is_empty() {
            // A range of no pages at an address that may be asked for.
            true => (0, 0),
            false => (range.start.addr() as u64, range.end.addr() as u64),
        };
        let mut scan = Scan {
            size: size_of::<Scan>() as u64,
            start,
            end,
            vec: regions.as_mut_ptr().addr() as u64,
            vec_len: regions.len() as u64,
            max_pages: most_pages as u64,
            category_inverted: FILE | ZEROS,
            category_mask: FILE | ZEROS,
            category_anyof_mask: PRESENT | SWAPPED,
            ..Scan::default()
        };
        // SAFETY: the opcode is that of the type, and what the argument points to is borrowed until the call is over.
        unsafe { ioctl(&self.0, Updater::<PAGEMAP_SCAN, Scan>::new(&mut scan))? };
        Ok(usize::try_from(scan.walk_end).unwrap_or(0))
    }
}

const PAGEMAP_SCAN: rustix::ioctl::Opcode = opcode::read_write::<Scan>(b'f', 16);

#[cfg(test)]
mod tests {
    use super::*;

    /// Whole pages that begin as zeros, within a vector.
    fn pages(bytes: &mut [u8]) -> &mut [u8] {
        let skipped = bytes.as_ptr().addr().next_multiple_of(1 << 16) - bytes.as_ptr().addr();
        let whole = (bytes.len() - skipped) & !0xffff;
        &mut bytes[skipped..skipped + whole]
    }

    /// More than a few huge pages.
    const MOST: usize = 16 << 20;

    #[test]
    fn pages_that_were_written_are_told() {
        let Some(kernel) = Pages::open() else { return };
        // More than an allocator keeps, so that it comes from the kernel and was never written.
        let mut bytes = vec![0_u8; 256 << 20];
        let memory = pages(&mut bytes);
        assert_eq!(kernel.written(memory, MOST), Some(Vec::new()));
        // To be read is not to be written.
        assert_eq!(memory[..1 << 20].iter().step_by(PAGE).map(|byte| u64::from(*byte)).sum::<u64>(), 0);
        memory[5] = 1;
        memory[(4 << 20) + 70_000] = 1;
        let written = kernel.written(memory, MOST).unwrap();
        let told = |at: usize| written.iter().any(|range| range.contains(&at));
        assert!(told(5) && told((4 << 20) + 70_000), "{written:?}");
        assert!(!told(128 << 20), "{written:?}");
        // Where nobody has to ask for huge pages, what is near is on the same page.
        let huge = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled");
        if !huge.is_ok_and(|huge| huge.contains("[always]")) {
            assert!(!told(1 << 19), "{written:?}");
        }
    }

    #[test]
    fn where_zeros_are_merged_nothing_is_told() {
        let knows = Pages::unless_merged(Path::new("/nowhere")).is_some();
        let file = std::env::temp_dir().join(format!("tidegate-zero-pages-{}", std::process::id()));
        for (text, told) in [("0\n", knows), ("1\n", false)] {
            std::fs::write(&file, text).unwrap();
            assert_eq!(Pages::unless_merged(&file).is_some(), told, "{text}");
        }
        std::fs::remove_file(file).unwrap();
    }

    #[test]
    fn too_much_is_no_list() {
        let Some(kernel) = Pages::open() else { return };
        let mut bytes = vec![0_u8; 64 << 20];
        let memory = pages(&mut bytes);
        memory[..8 << 20].fill(1);
        assert_eq!(kernel.written(memory, 1 << 20), None);
        assert!(kernel.written(memory, 16 << 20).is_some());
        let mut bytes = vec![0_u8; 64 << 20];
        let memory = pages(&mut bytes);
        (0..2 * RANGES).for_each(|place| memory[place * (1 << 17)] = 1);
        assert_eq!(kernel.written(memory, 16 << 20), None);
    }
}
