//! `GET /profile`: where the CPU time goes, guests' functions too, as a flame graph or as folded stacks.

mod flame;
#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod sampler;
mod stacks;

use std::cell::Cell;
use std::time::Duration;

use http::header::{CONTENT_SECURITY_POLICY, HeaderValue};
use http::request::Parts;
use http::{Response, StatusCode};

use super::Shown;
use super::answer::{AdminBody, AdminError, respond};
use stacks::Stacks;

/// Whether a profile is being taken: there is one timer for the whole process.
#[derive(Default)]
pub(super) struct Turn(Cell<bool>);

/// Gives the turn back when the profile is there, or its client gone.
struct Taken<'a>(&'a Turn);

impl Turn {
    fn take(&self) -> Result<Taken<'_>, AdminError> {
        match self.0.replace(true) {
            false => Ok(Taken(self)),
            true => Err(AdminError::new(StatusCode::CONFLICT, "a profile is being taken; one at a time")),
        }
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.0.0.set(false);
    }
}

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
struct Wish {
    time: Duration,
    /// Samples for each second of CPU time.
    frequency: u32,
    form: Form,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Svg,
    Folded,
}

impl Wish {
    fn parse(query: &str) -> Result<Self, AdminError> {
        let mut wish = Self { time: Duration::from_secs(5), frequency: 99, form: Form::Svg };
        let refused = |why: String| AdminError::new(StatusCode::BAD_REQUEST, why);
        let number = |name: &str, text: &str, most: u32| match text.parse() {
            Ok(number) if (1..=most).contains(&number) => Ok(number),
            _ => Err(refused(format!("{name}={text}: a number from 1 to {most} is wanted"))),
        };
        for part in query.split('&').filter(|part| !part.is_empty()) {
            match part.split_once('=').unwrap_or((part, "")) {
                ("seconds", text) => {
                    wish.time = Duration::from_secs(number("seconds", text, LONGEST)?.into());
                }
                ("frequency", text) => wish.frequency = number("frequency", text, FASTEST)?,
                ("format", "svg") => wish.form = Form::Svg,
                ("format", "folded") => wish.form = Form::Folded,
                ("format", other) => {
                    return Err(refused(format!("format={other}: svg or folded is wanted")));
                }
                (other, _) => {
                    return Err(refused(format!("{other}: seconds, frequency and format are known")));
                }
            }
        }
        Ok(wish)
    }
}

/// Samples for as long as was asked, then tells what was found.
pub(super) async fn answer(head: &Parts, shown: &Shown) -> Result<Response<AdminBody>, AdminError> {
    let wish = Wish::parse(head.uri.query().unwrap_or_default())?;
    let _turn = shown.profiling.take()?;
    let stacks = sample(&wish, shown).await?;
    Ok(match wish.form {
        Form::Folded => respond(StatusCode::OK, "text/plain; charset=utf-8", stacks.folded()),
        Form::Svg => {
            let title = format!(
                "Tidegate: {} s at {} Hz, {} samples",
                wish.time.as_secs(),
                wish.frequency,
                stacks.total()
            );
            let mut drawn = respond(StatusCode::OK, "image/svg+xml", flame::draw(&stacks, &title));
            let policy = HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'");
            drawn.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
            drawn
        }
    })
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
async fn sample(wish: &Wish, shown: &Shown) -> Result<Stacks, AdminError> {
    let failed = |why: String| AdminError::new(StatusCode::INTERNAL_SERVER_ERROR, why);
    let sampler = sampler::Sampler::begin(wish.frequency).map_err(failed)?;
    tracing::info!(seconds = wish.time.as_secs(), frequency = wish.frequency, "taking a CPU profile");
    tokio::time::sleep(wish.time).await;
    let code = shown.gateway.guest_code();
    // Names are looked up in the whole program.
    let named = tokio::task::spawn_blocking(move || {
        let stacks = sampler.end(&code);
        crate::memory::give_back();
        stacks
    });
    let named = named.await;
    named.map_err(|error| failed(error.to_string()))?.map_err(failed)
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
async fn sample(_: &Wish, _: &Shown) -> Result<Stacks, AdminError> {
    Err(AdminError::new(StatusCode::NOT_IMPLEMENTED, "profiles are taken on Linux with the GNU C library"))
}

/// Longest time of a profile, in seconds.
const LONGEST: u32 = 60;

/// Most samples for a second of CPU time: the kernel's own clock is hardly faster.
const FASTEST: u32 = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_bounded() {
        let wish = |query: &str| Wish::parse(query).ok();
        let expected =
            |seconds, frequency, form| Some(Wish { time: Duration::from_secs(seconds), frequency, form });
        assert_eq!(wish(""), expected(5, 99, Form::Svg));
        assert_eq!(wish("seconds=60&frequency=1000&format=folded"), expected(60, 1000, Form::Folded));
        for wrong in
            ["seconds=0", "seconds=61", "seconds=-1", "seconds", "frequency=1001", "format=png", "x=1"]
        {
            assert_eq!(wish(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn one_is_taken_at_a_time() {
        let turn = Turn::default();
        let first = turn.take().ok();
        assert!(first.is_some() && turn.take().is_err());
        drop(first);
        assert!(turn.take().is_ok());
    }
}
