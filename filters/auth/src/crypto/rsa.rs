//! The public half of RSA (RFC 8017): opening a signature, and the two encodings of what is in it. All values here are
//! public, so nothing needs to take a constant time.

use sha2::Digest;

/// A modulus of 2048 to 8192 bits with its exponent.
pub(super) struct PublicKey {
    /// Little-endian.
    modulus: Vec<u32>,
    exponent: u64,
    bits: usize,
}

impl PublicKey {
    /// From `RSAPublicKey` in DER.
    pub(super) fn from_der(der: &[u8]) -> Option<Self> {
        let (content, rest) = element(der, 0x30)?;
        let (modulus, after) = element(content, 2)?;
        let (exponent, end) = element(after, 2)?;
        if !rest.is_empty() || !end.is_empty() {
            return None;
        }
        let modulus = modulus.strip_prefix(&[0]).unwrap_or(modulus);
        let exponent = exponent.strip_prefix(&[0]).unwrap_or(exponent);
        let bits = modulus.len() * 8 - usize::try_from(modulus.first()?.leading_zeros()).ok()?;
        if exponent.len() > 8 || !(2048..=8192).contains(&bits) || modulus.last()? & 1 == 0 {
            return None;
        }
        let exponent = exponent.iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
        let is_usual = exponent >= 3 && exponent & 1 == 1 && exponent < 1 << 33;
        is_usual.then(|| PublicKey { modulus: limbs(modulus), exponent, bits })
    }

    /// The bits of the modulus.
    pub(super) fn bits(&self) -> usize {
        self.bits
    }

    /// What was signed, in as many bytes as the modulus has. Nothing for what is no signature of such a key.
    pub(super) fn open(&self, signature: &[u8]) -> Option<Vec<u8>> {
        let size = self.bits.div_ceil(8);
        let mut base = limbs(signature);
        base.resize(self.modulus.len(), 0);
        if signature.len() != size || !is_less(&base, &self.modulus) {
            return None;
        }
        let inverse = self.inverse()?;
        let mut square = vec![0; self.modulus.len()];
        *square.first_mut()? = 1;
        for _ in 0..self.modulus.len() * 64 {
            self.double(&mut square);
        }
        let base = self.multiply(&base, &square, inverse);
        let mut power = base.clone();
        // The highest bit of the exponent is in `power` already.
        for bit in (0..63 - self.exponent.leading_zeros()).rev() {
            power = self.multiply(&power, &power, inverse);
            if self.exponent >> bit & 1 == 1 {
                power = self.multiply(&power, &base, inverse);
            }
        }
        let mut one = vec![0; self.modulus.len()];
        *one.first_mut()? = 1;
        let opened = self.multiply(&power, &one, inverse);
        let bytes: Vec<u8> = opened.iter().rev().flat_map(|limb| limb.to_be_bytes()).collect();
        Some(bytes.get(bytes.len() - size..)?.to_vec())
    }

    /// The negative inverse of the modulus' lowest limb, by Newton's iteration.
    fn inverse(&self) -> Option<u32> {
        let lowest = *self.modulus.first()?;
        let mut inverse = 1_u32;
        for _ in 0..5 {
            inverse = inverse.wrapping_mul(2_u32.wrapping_sub(lowest.wrapping_mul(inverse)));
        }
        Some(inverse.wrapping_neg())
    }

    fn double(&self, value: &mut [u32]) {
        let mut carry = 0;
        for limb in value.iter_mut() {
            let high = *limb >> 31;
            *limb = *limb << 1 | carry;
            carry = high;
        }
        if carry == 1 || !is_less(value, &self.modulus) {
            subtract(value, &self.modulus);
        }
    }

    /// Montgomery's product: `a * b / 2^(32 * limbs)` modulo the modulus.
    fn multiply(&self, a: &[u32], b: &[u32], inverse: u32) -> Vec<u32> {
        let size = self.modulus.len();
        let mut sum = vec![0_u32; size];
        let mut top = 0_u64;
        for digit in a {
            let carry = add_product(&mut sum, b, *digit);
            let high = top + carry;
            let factor = sum.first().copied().unwrap_or_default().wrapping_mul(inverse);
            let high = high + add_product(&mut sum, &self.modulus, factor);
            // The lowest limb is 0 now: everything moves down by one.
            sum.rotate_left(1);
            if let Some(last) = sum.last_mut() {
                *last = low(high);
            }
            top = high >> 32;
        }
        if top > 0 || !is_less(&sum, &self.modulus) {
            subtract(&mut sum, &self.modulus);
        }
        sum
    }
}

/// Adds `b * digit`; returns what goes beyond.
fn add_product(sum: &mut [u32], b: &[u32], digit: u32) -> u64 {
    let mut carry = 0_u64;
    for (limb, factor) in sum.iter_mut().zip(b) {
        let next = u64::from(*limb) + u64::from(*factor) * u64::from(digit) + carry;
        *limb = low(next);
        carry = next >> 32;
    }
    carry
}

#[expect(clippy::cast_possible_truncation, reason = "the low half is wanted")]
fn low(value: u64) -> u32 {
    value as u32
}

fn is_less(a: &[u32], b: &[u32]) -> bool {
    a.iter().rev().lt(b.iter().rev())
}

fn subtract(value: &mut [u32], other: &[u32]) {
    let mut borrow = false;
    for (limb, less) in value.iter_mut().zip(other) {
        let (first, under) = limb.overflowing_sub(*less);
        let (second, again) = first.overflowing_sub(u32::from(borrow));
        *limb = second;
        borrow = under || again;
    }
}

fn limbs(bytes: &[u8]) -> Vec<u32> {
    let limb = |chunk: &[u8]| chunk.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte));
    bytes.rchunks(4).map(limb).collect()
}

/// The content of an element of DER, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let rest = der.strip_prefix(&[tag])?;
    let (first, rest) = rest.split_first()?;
    if *first < 0x80 {
        return rest.split_at_checked(usize::from(*first));
    }
    let (size, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
    if size.is_empty() || size.len() > 2 {
        return None;
    }
    rest.split_at_checked(size.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)))
}

/// Whether this is the encoding of a digest (section 9.2): it is made anew and compared, so there is nothing to parse.
pub(super) fn is_pkcs1(encoded: &[u8], prefix: &[u8], digest: &[u8]) -> bool {
    let Some(padding) = encoded.len().checked_sub(prefix.len() + digest.len() + 3) else { return false };
    let mut wanted = Vec::with_capacity(encoded.len());
    wanted.extend([0, 1]);
    wanted.resize(2 + padding, 0xff);
    wanted.push(0);
    wanted.extend_from_slice(prefix);
    wanted.extend_from_slice(digest);
    padding >= 8 && wanted == encoded
}

/// Whether this is an encoding of a text (section 9.1.2), the salt as long as the hash function's result.
pub(super) fn is_pss<H: Digest>(encoded: &[u8], bits: usize, text: &[u8]) -> bool {
    pss::<H>(encoded, bits, text).unwrap_or(false)
}

fn pss<H: Digest>(encoded: &[u8], bits: usize, text: &[u8]) -> Option<bool> {
    let (used, hash_size) = (bits - 1, <H as Digest>::output_size());
    // With 8 n + 1 bits the first byte has nothing in it.
    let (unused, encoded) = encoded.split_at_checked(encoded.len().checked_sub(used.div_ceil(8))?)?;
    let body = encoded.strip_suffix(&[0xbc])?;
    let (masked, hash) = body.split_at_checked(body.len().checked_sub(hash_size)?)?;
    let mask = 0xff_u8 >> (encoded.len() * 8 - used);
    if unused.iter().any(|byte| *byte != 0) || masked.first()? & !mask != 0 {
        return None;
    }
    let stream =
        (0_u32..).flat_map(|count| H::new().chain_update(hash).chain_update(count.to_be_bytes()).finalize());
    let mut plain: Vec<u8> = masked.iter().zip(stream).map(|(byte, mask)| byte ^ mask).collect();
    *plain.first_mut()? &= mask;
    let (padding, salt) = plain.split_at_checked(plain.len().checked_sub(hash_size)?)?;
    let (one, zeros) = padding.split_last()?;
    if *one != 1 || zeros.iter().any(|byte| *byte != 0) {
        return None;
    }
    let again = H::new().chain_update([0; 8]).chain_update(H::digest(text)).chain_update(salt).finalize();
    Some(again.as_slice() == hash)
}
