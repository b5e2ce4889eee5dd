//! A password's hash as a file of passwords has it.

use std::fmt;

use crate::argon::Argon;
use crate::bcrypt::{Bcrypt, Rounds};

/// A password's hash. Its `Debug` form has what the hash costs, not the hash.
#[derive(Clone, PartialEq, Eq)]
pub struct Hash(Kind);

#[derive(Clone, PartialEq, Eq)]
enum Kind {
    Argon(Argon),
    Bcrypt(Bcrypt),
}

/// Why a text is no hash that is checked here, in words for whoever wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unfit(&'static str);

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Unfit {}

impl Hash {
    /// Reads `$argon2id$v=19$m=…,t=…,p=…$salt$hash` (also `argon2i` and `argon2d`) or `$2y$COST$…` (also `2a` and `2b`).
    ///
    /// # Errors
    /// What would be right.
    pub fn read(text: &str) -> Result<Self, Unfit> {
        if text.starts_with("$argon2") {
            let wrong = "the argon2 hash is not `$argon2id$v=19$m=…,t=…,p=…$salt$hash`, with at most m=262144, t=16, p=16 and m × t = 1048576";
            return Argon::read(text).map(|hash| Hash(Kind::Argon(hash))).ok_or(Unfit(wrong));
        }
        if text.starts_with("$2") {
            let wrong = "the bcrypt hash is not `$2y$COST$…`, with a cost of 4 to 16";
            return Bcrypt::read(text).map(|hash| Hash(Kind::Bcrypt(hash))).ok_or(Unfit(wrong));
        }
        Err(Unfit("the hash is neither bcrypt nor argon2; `htpasswd -B` writes bcrypt"))
    }

    /// Bytes of memory that a check takes.
    pub fn memory(&self) -> usize {
        match &self.0 {
            Kind::Argon(hash) => hash.memory(),
            Kind::Bcrypt(_) => 4 << 10,
        }
    }

    /// Whether it is this password's, computed in one go.
    pub fn is_of(&self, password: &[u8]) -> bool {
        let mut check = self.check(password);
        loop {
            if let Some(right) = check.step() {
                return right;
            }
        }
    }

    /// Begins to find out whether it is this password's.
    pub fn check<'a>(&'a self, password: &'a [u8]) -> Check<'a> {
        Check(match &self.0 {
            Kind::Argon(hash) => Computing::Argon(hash, password),
            Kind::Bcrypt(hash) => Computing::Bcrypt(Box::new(hash.begin(password))),
        })
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Argon(hash) => hash.fmt(f),
            Kind::Bcrypt(hash) => hash.fmt(f),
        }
    }
}

/// A check that has begun.
#[derive(Debug)]
pub struct Check<'a>(Computing<'a>);

enum Computing<'a> {
    Argon(&'a Argon, &'a [u8]),
    Bcrypt(Box<Rounds<'a>>),
}

impl fmt::Debug for Computing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Argon(hash, _) => hash.fmt(f),
            Self::Bcrypt(rounds) => rounds.hash().fmt(f),
        }
    }
}

impl Check<'_> {
    /// Computes for some milliseconds, in WebAssembly, and says whether the password is right once that is known. Argon2
    /// cannot be interrupted, so its one step takes as long as it takes.
    pub fn step(&mut self) -> Option<bool> {
        match &mut self.0 {
            Computing::Argon(hash, password) => Some(hash.is_of(password)),
            Computing::Bcrypt(rounds) => rounds.step(),
        }
    }
}

/// Compares without stopping at the first difference; only the lengths may be told by the time it takes.
pub(crate) fn equal(known: &[u8], computed: &[u8]) -> bool {
    if known.len() != computed.len() {
        return false;
    }
    let difference = known.iter().zip(computed).fold(0, |sum, (a, b)| std::hint::black_box(sum | (a ^ b)));
    difference == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    // By the reference implementation of argon2 and by htpasswd; the passwords are "beta" and "alpha".
    const ARGON: &str =
        "$argon2id$v=19$m=256,t=2,p=1$MnyLjPSow9HhBtQ8xBwYgg$FMGfkds4vUnljpmHcGpHxxH89NCHptRocuTGAQbMXWA";
    const BCRYPT: &str = "$2y$05$tXT8z8pV94wOfKjb8WlZwO78NNucOlTtujMrjmBTrAKB89XvI1Kjq";

    #[test]
    fn passwords_are_told_from_others() {
        for (text, right) in [(ARGON, "beta"), (BCRYPT, "alpha")] {
            let hash = Hash::read(text).unwrap();
            assert!(hash.is_of(right.as_bytes()), "{text}");
            for wrong in ["", "x", "\0", &format!("{right}\0"), &format!("{right}x")] {
                assert!(!hash.is_of(wrong.as_bytes()), "{text} {wrong:?}");
            }
        }
    }

    #[test]
    fn what_is_no_hash_or_costs_too_much_is_refused() {
        let argon = |cost: &str| format!("$argon2id$v=19${cost}$c2FsdHNhbHQ$MTIzNDU2Nzg5MDEyMzQ1Ng");
        for cost in ["m=19456,t=2,p=1", "m=262144,t=4,p=16", "m=65536,t=16,p=1", "t=1,p=1,m=8"] {
            assert!(Hash::read(&argon(cost)).is_ok(), "{cost}");
        }
        for cost in [
            "m=262145,t=1,p=1",
            "m=262144,t=5,p=1",
            "m=8,t=17,p=1",
            "m=4294967296,t=1,p=1",
            "m=7,t=1,p=1",
            "m=256,t=1,p=17",
            "m=8,t=0,p=1",
            "m=8,t=1,p=0",
            "m=8,t=1",
            "m=8,t=1,p=1,x=1",
            "m=-8,t=1,p=1",
            "",
        ] {
            assert!(Hash::read(&argon(cost)).is_err(), "{cost}");
        }
        let mut others = vec![
            String::new(),
            "$".into(),
            "$2y$".into(),
            "$1$abc".into(),
            "plain".into(),
            "$argon2".into(),
            ARGON.replace("v=19", "v=16"),
            ARGON.replace("argon2id", "argon2x"),
            format!("{ARGON}="),
            format!("{ARGON}$"),
        ];
        for cost in ["03", "17", "31", "5", "99999999999", "-5", "+5"] {
            others.push(BCRYPT.replacen(&BCRYPT[4..6], cost, 1));
        }
        others.extend((0..BCRYPT.len()).map(|end| BCRYPT[..end].to_owned()));
        others.push(format!("{BCRYPT}a"));
        others.push(BCRYPT.replacen(&BCRYPT[10..11], "\u{e9}", 1));
        for text in others {
            assert!(Hash::read(&text).is_err(), "{text}");
        }
    }

    #[test]
    fn neither_hash_nor_password_is_shown() {
        let hash = Hash::read(ARGON).unwrap();
        assert_eq!(
            format!("{hash:?} {:?}", hash.check(b"secret")),
            "argon2id m=256,t=2,p=1 Check(argon2id m=256,t=2,p=1)"
        );
        assert_eq!(format!("{:?}", Hash::read(BCRYPT).unwrap()), "bcrypt 5");
    }
}
