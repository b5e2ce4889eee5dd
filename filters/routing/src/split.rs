//! Choices by weight: by chance, by an identity, or as the client's cookie says.

use tidegate_sdk::{ConfigError, Request, log, random, time};

use crate::arms::{Arm, check_name};
use crate::config::{self, Source};
use crate::source;

/// See the module.
#[derive(Debug)]
pub(crate) struct Split {
    /// Where each arm's share of the numbers ends.
    ends: Vec<u64>,
    by: Option<Source>,
    cookie: Option<Cookie>,
    salt: u64,
}

#[derive(Debug)]
struct Cookie {
    name: String,
    /// What follows name and value where it is set.
    attributes: String,
}

/// An arm by its number, and whether its client is to be told to keep it.
pub(crate) struct Given {
    pub(crate) arm: usize,
    pub(crate) keep: bool,
}

impl Split {
    pub(crate) fn new(
        split: &config::Split,
        salt: &str,
        rule: &str,
        path: &str,
    ) -> Result<(Self, Vec<Arm>), ConfigError> {
        let (mut arms, mut ends, mut sum) = (Vec::new(), Vec::new(), 0_u64);
        for (at, arm) in split.arms.iter().enumerate() {
            let path = format!("{path}.arms[{at}]");
            check_name(&arm.name, &format!("{path}.name"))?;
            if arms.iter().any(|known: &Arm| known.name == arm.name) {
                return Err(ConfigError::at(
                    format!("{path}.name"),
                    format!("there is an arm \"{}\" already", arm.name),
                ));
            }
            arms.push(Arm::new(rule, &arm.name, arm.to.as_ref(), &format!("{path}.to"))?);
            sum += u64::from(arm.weight);
            ends.push(sum);
        }
        if sum == 0 {
            return Err(ConfigError::at(
                format!("{path}.arms"),
                "have no weight, so no request could be given one",
            ));
        }
        let by = split.by.as_ref().map(|by| source::checked(by, &format!("{path}.by"))).transpose()?;
        let cookie =
            split.cookie.as_ref().map(|cookie| Cookie::new(cookie, &format!("{path}.cookie"))).transpose()?;
        let salt = hash(hash(START, salt.as_bytes()), rule.as_bytes());
        Ok((Split { ends, by, cookie, salt }, arms))
    }

    pub(crate) fn give<S>(&self, request: &Request<S>, arms: &[Arm]) -> Given {
        let kept = self.cookie.as_ref().and_then(|cookie| request.cookie(&cookie.name));
        let kept = kept.and_then(|name| arms.iter().position(|arm| name == arm.name.as_str()));
        if let Some(arm) = kept.filter(|arm| self.weight(*arm) > 0) {
            return Given { arm, keep: false };
        }
        let identity = self.by.as_ref().and_then(|by| source::value(by, request));
        let arm = identity.map_or_else(|| self.arm(drawn()), |identity| self.arm_of(&identity));
        Given { arm, keep: self.cookie.is_some() }
    }

    /// The arm that an identity is always given.
    pub(crate) fn arm_of(&self, identity: &str) -> usize {
        self.arm(mixed(hash(self.salt, identity.as_bytes())))
    }

    /// The value of the header that has the client keep an arm.
    pub(crate) fn set_cookie(&self, arm: &Arm) -> Option<String> {
        let cookie = self.cookie.as_ref()?;
        Some(format!("{}={}{}", cookie.name, arm.name, cookie.attributes))
    }

    fn weight(&self, arm: usize) -> u64 {
        let end = |at: usize| self.ends.get(at).copied().unwrap_or(0);
        end(arm) - arm.checked_sub(1).map_or(0, end)
    }

    /// The arm in whose share a number is.
    fn arm(&self, number: u64) -> usize {
        let sum = self.ends.last().copied().unwrap_or(1);
        // A 64-bit number times the sum, of which the upper half is below the sum.
        let place = ((u128::from(number) * u128::from(sum)) >> 64) as u64;
        self.ends.iter().position(|end| place < *end).unwrap_or(0)
    }
}

impl Cookie {
    fn new(cookie: &config::Cookie, path: &str) -> Result<Self, ConfigError> {
        check_name(&cookie.name, &format!("{path}.name"))?;
        let secure = if cookie.secure { "; Secure" } else { "" };
        let age = cookie.max_age.0.as_secs();
        let attributes = format!("; Path=/; Max-Age={age}; HttpOnly; SameSite=Lax{secure}");
        Ok(Cookie { name: cookie.name.clone(), attributes })
    }
}

fn drawn() -> u64 {
    random::bytes().map(u64::from_le_bytes).unwrap_or_else(|error| {
        log::debug!("drawn by the clock: {error}");
        mixed(time::now().as_nanos() as u64)
    })
}

/// FNV-1a.
const START: u64 = 0xcbf2_9ce4_8422_2325;

fn hash(start: u64, bytes: &[u8]) -> u64 {
    // Followed by what is in no text, so that "a" and "bc" are not "ab" and "c".
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().chain(&[0xff]).fold(start, step)
}

/// Spreads what differs in few bits over all of them (the end of MurmurHash3).
fn mixed(number: u64) -> u64 {
    let number = (number ^ (number >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let number = (number ^ (number >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    number ^ (number >> 33)
}
