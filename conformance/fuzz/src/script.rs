//! Scripts for the hostile guest, from a seed.

use crate::hostile::{MALLOCS, op, texts};
use crate::imports::all;
use crate::random::Random;

/// Numbers at the borders of what is right.
const WILD: [u32; 18] = [
    0,
    1,
    2,
    3,
    4,
    5,
    8,
    16,
    64,
    0xfffc,
    0x3_ffff,
    0x4_0000,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_fff0,
    0xffff_fffe,
    0xffff_ffff,
    1 << 20,
];

/// What a guest does in all its callbacks, as its configuration.
pub(crate) fn script(random: &mut Random) -> Vec<u8> {
    let imports = all();
    let special = |op: u32| u32::try_from(imports.len()).unwrap() + op;
    let texts = texts();
    let mut words: Vec<u32> = Vec::new();
    for _ in 0..20 + random.below(60) {
        for _ in 0..random.below(6) {
            match random.below(40) {
                0 => words.extend([special(op::GROW), random.pick(&[0, 1, 16, 100_000])]),
                1 | 2 => words.extend([special(op::MALLOC), random.below(MALLOCS as usize) as u32]),
                3..=5 => words.extend([special(op::RETURN), random.below(6) as u32]),
                6 => words.extend([special(op::STORE), random.next() as u32, random.next() as u32]),
                7 if random.once_in(3) => words.push(special(op::TRAP)),
                8 if random.once_in(20) => words.push(special(op::DEEP)),
                9 if random.once_in(40) => words.push(special(op::LOOP)),
                _ => call(random, &imports, &texts, &mut words),
            }
        }
        words.push(special(op::END));
    }
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// A call with arguments of which some are texts that the host understands, some places for results, some wild.
fn call(random: &mut Random, imports: &[(&str, &str, &str)], texts: &[(u32, u32)], words: &mut Vec<u32>) {
    let index = random.below(imports.len());
    let count = imports[index].2.len();
    words.push(u32::try_from(index).unwrap());
    let mut left = count;
    while left > 0 {
        match random.below(10) {
            0..=3 if left >= 2 => {
                let (at, len) = random.pick(texts);
                words.extend([at, len]);
                left -= 2;
            }
            4 | 5 => {
                words.push(random.pick(&[16, 20, 24, 28]));
                left -= 1;
            }
            6 | 7 => {
                words.push(random.below(9) as u32);
                left -= 1;
            }
            8 => {
                words.push(random.next() as u32);
                left -= 1;
            }
            _ => {
                words.push(random.pick(&WILD));
                left -= 1;
            }
        }
    }
}
