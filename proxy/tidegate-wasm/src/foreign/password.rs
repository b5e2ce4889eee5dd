//! The arguments of `tidegate_verify_password`: the length of the password (two bytes, little endian), the password, and
//! the hash.

use std::fmt;
use tidegate_password::Hash;

/// The longest password.
const PASSWORD: usize = 1024;

/// A password and the hash that it may be of. Its `Debug` form shows what the hash costs only.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordCheck {
    password: Box<[u8]>,
    hash: Hash,
}

impl PasswordCheck {
    /// Reads the arguments; none: they are malformed, or the hash costs too much.
    pub(crate) fn read(args: &[u8]) -> Option<Self> {
        let (length, rest) = args.split_first_chunk()?;
        let (password, hash) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
        let hash = Hash::read(std::str::from_utf8(hash).ok()?).ok()?;
        (password.len() <= PASSWORD).then(|| Self { password: password.into(), hash })
    }

    /// Bytes of memory that computing takes.
    pub fn memory(&self) -> usize {
        self.hash.memory()
    }

    /// Computes the hash and compares: up to some seconds.
    pub fn is_right(&self) -> bool {
        self.hash.is_of(&self.password)
    }
}

impl fmt::Debug for PasswordCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.hash.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The password is "beta".
    const HASH: &str =
        "$argon2id$v=19$m=256,t=2,p=1$MnyLjPSow9HhBtQ8xBwYgg$FMGfkds4vUnljpmHcGpHxxH89NCHptRocuTGAQbMXWA";

    fn args(password: &[u8], hash: &str) -> Vec<u8> {
        let length = u16::try_from(password.len()).unwrap().to_le_bytes();
        [&length, password, hash.as_bytes()].concat()
    }

    #[test]
    fn a_right_password_is_told_from_others() {
        let check = |password: &[u8]| PasswordCheck::read(&args(password, HASH)).unwrap();
        assert!(check(b"beta").is_right());
        assert!(!check(b"").is_right() && !check(&[b'a'; PASSWORD]).is_right());
        assert_eq!(check(b"beta").memory(), 256 << 10);
        assert_eq!(format!("{:?}", check(b"beta")), "argon2id m=256,t=2,p=1");
    }

    #[test]
    fn what_is_malformed_or_too_large_is_refused() {
        let good = args(b"beta", HASH);
        // A hash may be shorter, down to 16 bytes.
        for cut in 0..good.len() - 22 {
            assert_eq!(PasswordCheck::read(&good[..cut]), None, "{cut}");
        }
        for bad in [
            args(&[b'a'; PASSWORD + 1], HASH),
            args(b"beta", ""),
            args(b"beta", "$argon2id$v=19$m=4194304,t=1,p=1$c2FsdHNhbHQ$MTIzNDU2Nzg5MDEyMzQ1Ng"),
            [&good[..], b"\xff"].concat(),
        ] {
            assert_eq!(PasswordCheck::read(&bad), None, "{}", bad.escape_ascii());
        }
    }
}
