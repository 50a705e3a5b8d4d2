//! Chance for the benchmark: seeded, and exact where tails decide (the simulated world's draws are approximate there).

/// xoshiro256++ (Blackman and Vigna 2019), seeded by splitmix64.
pub struct Chance([u64; 4]);

impl Chance {
    pub fn new(seed: u64) -> Self {
        let mut state = seed;
        Self([(); 4].map(|()| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        }))
    }

    fn bits(&mut self) -> u64 {
        let s = &mut self.0;
        let bits = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        bits
    }

    /// Uniform in (0, 1).
    pub fn unit(&mut self) -> f64 {
        ((self.bits() >> 12) as f64 + 0.5) / (1_u64 << 52) as f64
    }

    /// Poisson: by products of uniforms for small means, by transformed rejection (Hörmann 1993, PTRS) for others.
    pub fn poisson(&mut self, mean: f64) -> f64 {
        if mean <= 0.0 {
            return 0.0;
        }
        if mean < 10.0 {
            let (limit, mut product, mut count) = ((-mean).exp(), self.unit(), 0.0);
            while product > limit {
                product *= self.unit();
                count += 1.0;
            }
            return count;
        }
        let width = 0.931 + 2.53 * mean.sqrt();
        let tail = -0.059 + 0.024_83 * width;
        let inverse_alpha = 1.1239 + 1.1328 / (width - 3.4);
        let v_r = 0.9277 - 3.6224 / (width - 2.0);
        loop {
            let (u, v) = (self.unit() - 0.5, self.unit());
            let us = 0.5 - u.abs();
            let k = ((2.0 * tail / us + width) * u + mean + 0.43).floor();
            if us >= 0.07 && v <= v_r {
                return k;
            }
            let accepted = || {
                let left = (v * inverse_alpha / (tail / (us * us) + width)).ln();
                left <= k * mean.ln() - mean - ln_factorial(k)
            };
            if k >= 0.0 && (us >= 0.013 || v <= us) && accepted() {
                return k;
            }
        }
    }

    /// Size of a cluster: geometric, at least 1.
    pub fn geometric(&mut self, mean: f64) -> f64 {
        1.0 + (self.unit().ln() / (1.0 - 1.0 / mean).ln()).floor()
    }
}

fn ln_factorial(k: f64) -> f64 {
    if k < 10.0 {
        return (1..=k as u32).map(|n| f64::from(n).ln()).sum();
    }
    let x = k + 1.0;
    (x - 0.5) * x.ln() - x + 0.918_938_533_204_672_7 + 1.0 / (12.0 * x) - 1.0 / (360.0 * x * x * x)
}

/// Standard normal distribution function (Abramowitz and Stegun 7.1.26, error below 2e-7).
pub fn normal_below(x: f64) -> f64 {
    let z = x.abs() / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * z);
    let series = [1.061_405_429, -1.453_152_027, 1.421_413_741, -0.284_496_736, 0.254_829_592];
    let erf = 1.0 - series.iter().fold(0.0, |sum, c| (sum + c) * t) * (-z * z).exp();
    if x < 0.0 { (1.0 - erf) / 2.0 } else { f64::midpoint(1.0, erf) }
}
