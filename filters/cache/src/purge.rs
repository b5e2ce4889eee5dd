//! Many responses taken out at once, by the beginning of their paths or by tags. Shared data cannot be listed, so it is
//! noted what was taken out and when; what was asked for before that is not given any more.

use tidegate_sdk::{Fields, Reply, log, shared};

use crate::config;
use crate::control::split;
use crate::fetch::nanos;
use crate::record::Entry;

/// What was taken out, as one value that all workers share.
#[derive(Debug)]
pub struct Purges {
    /// The header with the tags of a response; none: nobody may purge.
    tag_header: Option<String>,
}

/// One request to purge.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Purge {
    /// In nanoseconds since 1970.
    time: u64,
    what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    /// What begins with this key.
    Prefix(Vec<u8>),
    /// What has this tag.
    Tag(Vec<u8>),
}

impl Purges {
    pub fn new(config: Option<&config::Purge>) -> Self {
        Purges { tag_header: config.map(|purge| purge.tag_header.to_ascii_lowercase()) }
    }

    /// Notes a purge of more than one target; none: it is of one. Or the answer to one that is not possible.
    pub fn note(&self, fields: &Fields) -> Option<Result<(), Box<Reply>>> {
        let time = nanos();
        let more: Vec<Purge> = if let Some(tags) = fields.get(TAGS) {
            tags_of(tags).map(|tag| Purge { time, what: What::Tag(tag.to_vec()) }).collect()
        } else if fields.get(PREFIX).is_some_and(|value| value == "true") {
            let mut target = crate::key::of_target(fields);
            target.truncate(target.iter().position(|byte| *byte == b'?').unwrap_or(target.len()));
            vec![Purge { time, what: What::Prefix(target) }]
        } else {
            return None;
        };
        if more.is_empty() {
            let problem = format!("{TAGS} names no tag");
            return Some(Err(Box::new(Reply::text(400, &problem).details("cache_purge_refused"))));
        }
        let noted = shared::update(KEY, |old| write(&with(read(old.unwrap_or_default()), &more)));
        Some(noted.map(drop).map_err(|error| {
            log::error!("kept responses cannot be purged: {error}");
            Box::new(Reply::text(503, "cannot be purged now").details("cache_purge_refused"))
        }))
    }

    /// Whether a kept response was taken out after it was asked for.
    pub fn are_of(&self, key: &[u8], entry: &Entry) -> bool {
        let Some(header) = &self.tag_header else { return false };
        let Ok(Some(found)) = shared::get(KEY) else { return false };
        read(&found.value).iter().filter(|purge| purge.time >= entry.since).any(|purge| match &purge.what {
            What::Prefix(start) => key.starts_with(start),
            What::Tag(tag) => {
                entry.headers.get_all(header).flat_map(|value| tags_of(value)).any(|own| own == tag)
            }
        })
    }
}

/// With more of them. The oldest are put together so that there is always room: then all that is older is taken out.
fn with(mut known: Vec<Purge>, more: &[Purge]) -> Vec<Purge> {
    known.retain(|known| !more.iter().any(|more| more.what == known.what));
    known.extend_from_slice(more);
    if known.len() > MOST {
        let old: Vec<Purge> = known.drain(..known.len() - MOST / 2).collect();
        let time = old.iter().map(|purge| purge.time).max().unwrap_or(0);
        known.insert(0, Purge { time, what: What::Prefix(Vec::new()) });
    }
    known
}

fn tags_of(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    split(value).flat_map(|part| part.split(|byte| *byte == b' ')).filter(|tag| !tag.is_empty())
}

fn write(purges: &[Purge]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for purge in purges {
        let (kind, text) = match &purge.what {
            What::Prefix(text) => (0, text),
            What::Tag(text) => (1, text),
        };
        bytes.extend_from_slice(&purge.time.to_le_bytes());
        bytes.push(kind);
        bytes.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
        bytes.extend_from_slice(text);
    }
    bytes
}

fn read(bytes: &[u8]) -> Vec<Purge> {
    let mut rest = bytes;
    std::iter::from_fn(|| {
        let (time, after) = rest.split_first_chunk()?;
        let (kind, after) = after.split_first()?;
        let (length, after) = after.split_first_chunk()?;
        let (text, after) = after.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
        rest = after;
        let what = if *kind == 0 { What::Prefix(text.to_vec()) } else { What::Tag(text.to_vec()) };
        Some(Purge { time: u64::from_le_bytes(*time), what })
    })
    .collect()
}

/// Asks for all whose path begins with that of the request.
const PREFIX: &str = "purge-prefix";

/// Asks for all with one of these tags, whatever their target.
const TAGS: &str = "purge-tags";

const KEY: &str = "purges";

/// As many are kept one by one.
const MOST: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_always_room_and_nothing_comes_back() {
        let mut all = Vec::new();
        for time in 0..1000 {
            let what = What::Tag(format!("t{time}").into_bytes());
            all = with(read(&write(&all)), &[Purge { time, what }]);
        }
        assert!(all.len() <= MOST);
        let first = all.first().unwrap();
        assert_eq!(first.what, What::Prefix(Vec::new()));
        // Each of those that were put together is not younger than what stands for them.
        let left = 999 - first.time;
        assert_eq!(all.len() as u64, left + 1);
        let again = with(all.clone(), &[Purge { time: 2000, what: What::Tag(b"t999".to_vec()) }]);
        assert_eq!(again.len(), all.len());
    }
}
