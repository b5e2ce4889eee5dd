//! Tidegate's own foreign functions.

use std::time::Duration;

use tidegate_abi::{MapKind, Status};
use tidegate_limiter::wire;
use tidegate_sdk::native::FEED;

use super::{Answer, Memory, ROOT};
use crate::machine::{Effect, Side};

const NAMES: [&str; 10] = [
    FEED,
    wire::FUNCTION,
    "tidegate_append",
    "tidegate_cancel",
    "tidegate_has",
    "tidegate_redis",
    "tidegate_reset",
    "tidegate_set_route",
    "tidegate_set_upstream",
    "tidegate_sleep",
];

impl Memory {
    /// Calls one of them. Every upstream and every route is there, but for one without a name.
    pub(super) fn own_function(&self, name: &str, arguments: &[u8]) -> Answer<Vec<u8>> {
        let stream = self.context.get();
        match name {
            FEED => {
                let side = if arguments == [1] { Side::Response } else { Side::Request };
                self.with_stream(|_| Ok(()))?;
                self.wish(Effect::Feed { stream, side });
            }
            "tidegate_append" => {
                let (side, bytes) = match arguments {
                    [0, bytes @ ..] => (Side::Request, bytes),
                    [1, bytes @ ..] => (Side::Response, bytes),
                    _ => return Err(Status::BadArgument.into()),
                };
                self.with_stream(|stream| stream.append(side, bytes))?;
            }
            "tidegate_has" if NAMES.iter().any(|known| known.as_bytes() == arguments) => {}
            "tidegate_set_upstream" => {
                let name = self.choice(arguments)?;
                self.wish(Effect::SetUpstream { stream, name });
            }
            "tidegate_set_route" => {
                let name = self.choice(arguments)?;
                self.wish(Effect::SetRoute { stream, name });
            }
            "tidegate_reset" => {
                self.with_stream(|stream| {
                    stream.over = true;
                    Ok(())
                })?;
                let details = String::from_utf8_lossy(arguments).into_owned();
                self.wish(Effect::Close { stream, details });
            }
            "tidegate_redis" => {
                let (upstream, timeout, commands) = redis(arguments).ok_or(Status::BadArgument)?;
                let token = self.next_id();
                self.later.borrow_mut().insert(token, stream);
                self.wish(Effect::Redis { token, upstream, commands, timeout });
                return Ok(token.to_le_bytes().to_vec());
            }
            "tidegate_sleep" => {
                let time = arguments.try_into().map(u32::from_le_bytes).map_err(|_| Status::BadArgument)?;
                if stream == ROOT || self.with_stream(|stream| Ok(stream.logging))? {
                    return Err(Status::BadArgument.into());
                }
                let token = self.next_id();
                self.later.borrow_mut().insert(token, stream);
                self.wish(Effect::Sleep { token, time: Duration::from_millis(time.max(1).into()) });
                return Ok(token.to_le_bytes().to_vec());
            }
            "tidegate_cancel" => {
                let token = arguments.try_into().map(u32::from_le_bytes).map_err(|_| Status::BadArgument)?;
                self.later.borrow_mut().remove(&token).ok_or(Status::NotFound)?;
                self.wish(Effect::ForeignCancel { token });
            }
            _ => return Err(Status::NotFound.into()),
        }
        Ok(Vec::new())
    }

    /// A name, while the head of the request is here.
    fn choice(&self, name: &[u8]) -> Answer<String> {
        self.with_stream(|stream| stream.write(MapKind::RequestHeaders).map(drop))?;
        match String::from_utf8(name.to_vec()) {
            Ok(name) if !name.is_empty() => Ok(name),
            Ok(_) => Err(Status::NotFound.into()),
            Err(_) => Err(Status::BadArgument.into()),
        }
    }

    /// A stream is over: nobody waits for what was called in its name.
    pub(crate) fn give_up(&self, stream: u32) {
        self.later.borrow_mut().retain(|token, of| {
            if *of == stream {
                self.wish(Effect::ForeignCancel { token: *token });
            }
            *of != stream
        });
    }
}

/// Where to, how long to wait, and the commands.
fn redis(arguments: &[u8]) -> Option<(String, Duration, Vec<u8>)> {
    let (millis, rest) = arguments.split_first_chunk()?;
    let (length, rest) = rest.split_first_chunk()?;
    let (name, commands) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
    let timeout = Duration::from_millis(u32::from_le_bytes(*millis).into());
    Some((String::from_utf8(name.to_vec()).ok()?, timeout, commands.to_vec()))
}
