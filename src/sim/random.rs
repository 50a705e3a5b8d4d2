//! All randomness of the simulated world: one seeded generator and the few distributions that the world draws from.
//!
//! It knows nothing of time or of Kubernetes. The same seed and the same order of calls give the same values on
//! every machine: only integer arithmetic and `f64` operations with exactly specified results decide anything.

use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};

/// The letters and digits of generated names (no vowels, so that no words appear).
const NAME_ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// Above this mean a Poisson draw is approximated by a rounded normal one.
const POISSON_EXACT_BELOW: f64 = 24.0;

/// Above this many trials a binomial draw is approximated unless its mean is small.
const BINOMIAL_EXACT_BELOW: u64 = 48;

/// A seeded source of randomness.
#[derive(Clone, Debug)]
pub struct Random(ChaCha8Rng);

impl Random {
    /// The generator for `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// A generator of its own for a part of the world, so that one part's draws never shift another's.
    #[must_use]
    pub fn fork(&mut self) -> Self {
        Self(ChaCha8Rng::seed_from_u64(self.0.next_u64()))
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Uniform in `[0, 1)`.
    pub fn unit(&mut self) -> f64 {
        // 53 bits fill the mantissa exactly
        (self.0.next_u64() >> 11) as f64 * (1.0 / 9_007_199_254_740_992.0)
    }

    /// Uniform in `[0, 2^32)`, for cumulative tables.
    pub fn word(&mut self) -> u32 {
        self.0.next_u32()
    }

    /// Uniform in `[low, high)`; `low` when the range is empty.
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        if high <= low {
            return low;
        }
        low + (high - low) * self.unit()
    }

    /// Uniform whole milliseconds in `[range.0, range.1]`.
    pub fn millis(&mut self, range: (u64, u64)) -> u64 {
        if range.1 <= range.0 {
            return range.0;
        }
        range.0 + self.0.next_u64() % (range.1 - range.0 + 1)
    }

    /// A whole number below `n` (0 when `n` is 0).
    pub fn below(&mut self, n: usize) -> usize {
        if n == 0 {
            return 0;
        }
        (self.0.next_u64() % n as u64) as usize
    }

    /// True with `probability`.
    pub fn chance(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.unit() < probability
    }

    /// A suffix for a generated name, as the API server's `generateName` gives.
    pub fn suffix(&mut self, length: usize) -> String {
        (0..length).map(|_| char::from(NAME_ALPHABET[self.below(NAME_ALPHABET.len())])).collect()
    }

    /// A version-4 UUID.
    pub fn uuid(&mut self) -> String {
        let high = (self.bits() & 0xffff_ffff_ffff_0fff) | 0x4000;
        let low = (self.bits() & 0x3fff_ffff_ffff_ffff) | 0x8000_0000_0000_0000;
        format!(
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            high >> 32,
            (high >> 16) & 0xffff,
            high & 0xffff,
            low >> 48,
            low & 0xffff_ffff_ffff
        )
    }

    /// A draw near the standard normal: the sum of twelve uniforms, which needs no transcendental function.
    pub fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.unit()).sum::<f64>() - 6.0
    }

    /// How many events of a process of mean `mean` happen.
    pub fn poisson(&mut self, mean: f64) -> u64 {
        if mean.is_nan() || mean <= 0.0 {
            return 0;
        }
        if mean >= POISSON_EXACT_BELOW {
            let draw = mean + mean.sqrt() * self.normal();
            return draw.round().max(0.0) as u64;
        }
        let limit = (-mean).exp();
        let mut product = self.unit();
        let mut count = 0;
        while product > limit {
            product *= self.unit();
            count += 1;
        }
        count
    }

    /// How many of `trials` succeed, each with `probability`.
    pub fn binomial(&mut self, trials: u64, probability: f64) -> u64 {
        if trials == 0 || probability.is_nan() || probability <= 0.0 {
            return 0;
        }
        if probability >= 1.0 {
            return trials;
        }
        if trials <= BINOMIAL_EXACT_BELOW {
            return (0..trials).filter(|_| self.unit() < probability).count() as u64;
        }
        let mean = trials as f64 * probability;
        let spread = (mean * (1.0 - probability)).sqrt();
        if mean < 12.0 {
            return self.poisson(mean).min(trials);
        }
        let draw = (mean + spread * self.normal()).round();
        (draw.max(0.0) as u64).min(trials)
    }
}

/// A stable 32-bit hash (FNV-1a), for names that must be the same in every run.
#[must_use]
pub fn fnv(bytes: &[u8]) -> u32 {
    let mut hash = Fnv::default();
    hash.add(bytes);
    hash.0
}

/// The same of what is written to it.
pub struct Fnv(pub u32);

impl Default for Fnv {
    fn default() -> Self {
        Self(0x811c_9dc5)
    }
}

impl Fnv {
    fn add(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    }
}

impl std::io::Write for Fnv {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.add(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The hash of a pod template as it stands in names: decimal digits spelled in the safe alphabet.
#[must_use]
pub fn safe_name(hash: u32) -> String {
    hash.to_string()
        .bytes()
        .map(|digit| char::from(NAME_ALPHABET[usize::from(digit) % NAME_ALPHABET.len()]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_draws() {
        let (mut a, mut b) = (Random::new(7), Random::new(7));
        for _ in 0..100 {
            assert_eq!(a.poisson(60.0), b.poisson(60.0));
            assert_eq!(a.uuid(), b.uuid());
        }
    }

    #[test]
    fn the_draws_have_the_means_they_promise() {
        let mut random = Random::new(1);
        let draws = 20_000;
        for mean in [0.5, 8.0, 60.0] {
            let sum: u64 = (0..draws).map(|_| random.poisson(mean)).sum();
            assert!((sum as f64 / f64::from(draws) / mean - 1.0).abs() < 0.02);
        }
        for (trials, probability) in [(10, 0.3), (200, 0.01), (500, 0.4)] {
            let sum: u64 = (0..draws).map(|_| random.binomial(trials, probability)).sum();
            let mean = trials as f64 * probability;
            assert!((sum as f64 / f64::from(draws) / mean - 1.0).abs() < 0.03);
        }
    }
}
