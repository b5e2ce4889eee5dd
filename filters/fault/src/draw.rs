//! What is left to chance: numbers, percentages, and how long delays are.

use std::time::Duration;

use tidegate_sdk::ConfigError;

use crate::config;

/// A generator of numbers (SplitMix64). The same seed gives the same numbers.
#[derive(Debug, Clone)]
pub(crate) struct Draw(u64);

impl Draw {
    /// What belongs to one request: two numbers that name it.
    pub(crate) fn new(seed: u64, request: u64) -> Self {
        // Mixed, so that neighbouring requests have nothing in common.
        Draw(mixed(seed ^ mixed(request.wrapping_add(STEP))))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        mixed(self.0)
    }

    /// A number from 0 up to, and not including, 1.
    fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

fn mixed(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// A number for bytes (FNV-1a, mixed).
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    mixed(bytes.iter().fold(0xcbf2_9ce4_8422_2325, step))
}

/// How many of the requests.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Share(f64);

impl Share {
    pub(crate) fn of_percent(percent: f64, path: &str) -> Result<Self, ConfigError> {
        match (0.0..=100.0).contains(&percent) {
            true => Ok(Share(percent / 100.0)),
            false => Err(ConfigError::at(
                format!("{path}.percent"),
                format!("{percent} is not a percentage: 0 to 100"),
            )),
        }
    }

    /// Whether it needs no draw.
    pub(crate) fn is_certain(self) -> bool {
        self.0 >= 1.0
    }

    pub(crate) fn is_none(self) -> bool {
        self.0 <= 0.0
    }

    /// A number is drawn in any case, so that what follows does not depend on the share.
    pub(crate) fn takes(self, draw: &mut Draw) -> bool {
        draw.fraction() < self.0
    }
}

/// How long delays are, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Length {
    Fixed(Duration),
    Uniform { min: f64, max: f64 },
    Normal { mean: f64, deviation: f64, max: f64 },
    Exponential { mean: f64, max: f64 },
}

impl Length {
    pub(crate) fn new(delay: &config::Delay, path: &str) -> Result<Self, ConfigError> {
        let wrong = |key: &str, problem: &str| Err(ConfigError::at(format!("{path}{key}"), problem));
        let length = match (delay.fixed, delay.uniform, delay.normal, delay.exponential) {
            (Some(span), None, None, None) => Length::Fixed(span.0),
            (None, Some(ends), None, None) => {
                Length::Uniform { min: ends.min.0.as_secs_f64(), max: ends.max.0.as_secs_f64() }
            }
            (None, None, Some(normal), None) => Length::Normal {
                mean: normal.mean.0.as_secs_f64(),
                deviation: normal.deviation.0.as_secs_f64(),
                max: normal.max.0.as_secs_f64(),
            },
            (None, None, None, Some(exponential)) => Length::Exponential {
                mean: exponential.mean.0.as_secs_f64(),
                max: exponential.max.0.as_secs_f64(),
            },
            _ => return wrong("", "has one of fixed, uniform, normal and exponential"),
        };
        if matches!(length, Length::Uniform { min, max } if min > max) {
            return wrong(".uniform", "min is larger than max");
        }
        match length.longest() > LONGEST {
            true => wrong("", "a delay may be at most 1h"),
            false => Ok(length),
        }
    }

    fn longest(self) -> f64 {
        match self {
            Length::Fixed(span) => span.as_secs_f64(),
            Length::Uniform { max, .. } | Length::Normal { max, .. } | Length::Exponential { max, .. } => max,
        }
    }

    pub(crate) fn is_fixed(self) -> bool {
        matches!(self, Length::Fixed(_))
    }

    pub(crate) fn draw(self, draw: &mut Draw) -> Duration {
        let seconds = match self {
            Length::Fixed(span) => return span,
            Length::Uniform { min, max } => min + (max - min) * draw.fraction(),
            Length::Normal { mean, deviation, max } => (mean + deviation * normal(draw)).min(max),
            // 1 - x is never 0.
            Length::Exponential { mean, max } => (-mean * (1.0 - draw.fraction()).ln()).min(max),
        };
        Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or_default()
    }
}

/// One of a normal distribution with the mean 0 and the deviation 1 (Box and Muller).
fn normal(draw: &mut Draw) -> f64 {
    let radius = (-2.0 * (1.0 - draw.fraction()).ln()).sqrt();
    radius * (std::f64::consts::TAU * draw.fraction()).cos()
}

/// The longest delay that can be configured, in seconds.
const LONGEST: f64 = 3600.0;

#[cfg(test)]
mod tests {
    use super::*;

    const COUNT: usize = 100_000;

    fn sample(length: Length) -> Vec<f64> {
        let mut draw = Draw::new(7, 1);
        (0..COUNT).map(|_| length.draw(&mut draw).as_secs_f64()).collect()
    }

    fn mean(sample: &[f64]) -> f64 {
        sample.iter().sum::<f64>() / sample.len() as f64
    }

    fn share(sample: &[f64], test: impl Fn(f64) -> bool) -> f64 {
        sample.iter().filter(|value| test(**value)).count() as f64 / sample.len() as f64
    }

    fn near(value: f64, wanted: f64, off: f64) {
        assert!((value - wanted).abs() < off, "{value} is not {wanted} within {off}");
    }

    #[test]
    fn delays_have_the_distribution_that_they_claim() {
        let uniform = sample(Length::Uniform { min: 1.0, max: 3.0 });
        near(mean(&uniform), 2.0, 0.01);
        near(share(&uniform, |value| value < 1.5), 0.25, 0.01);
        assert!(uniform.iter().all(|value| (1.0..=3.0).contains(value)));

        let normal = sample(Length::Normal { mean: 10.0, deviation: 2.0, max: 100.0 });
        near(mean(&normal), 10.0, 0.05);
        near(share(&normal, |value| (8.0..12.0).contains(&value)), 0.6827, 0.01);
        near(share(&normal, |value| value > 14.0), 0.0228, 0.003);

        let exponential = sample(Length::Exponential { mean: 1.0, max: 1000.0 });
        near(mean(&exponential), 1.0, 0.02);
        near(share(&exponential, |value| value > 1.0), 0.3679, 0.01);
        near(share(&exponential, |value| value > 3.0), 0.0498, 0.005);
    }

    #[test]
    fn delays_have_a_cap_and_are_never_negative() {
        let capped = sample(Length::Exponential { mean: 1.0, max: 2.0 });
        near(share(&capped, |value| value == 2.0), 0.1353, 0.005);
        let normal = sample(Length::Normal { mean: 0.0, deviation: 1.0, max: 1.0 });
        near(share(&normal, |value| value == 0.0), 0.5, 0.01);
        near(share(&normal, |value| value == 1.0), 0.1587, 0.005);
    }

    #[test]
    fn shares_are_exact_to_small_fractions() {
        for (percent, wanted) in [(0.0, 0.0), (0.05, 0.0005), (12.5, 0.125), (100.0, 1.0)] {
            let share = Share::of_percent(percent, "").unwrap();
            let takes = |request| share.takes(&mut Draw::new(3, request));
            let taken = (0..COUNT as u64).filter(|request| takes(*request)).count();
            near(taken as f64 / COUNT as f64, wanted, 0.003_f64.min(wanted * 0.3 + 1e-9));
        }
    }
}
