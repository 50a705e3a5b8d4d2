//! Real time.

use crate::ports::Clock;
use jiff::Timestamp;
use std::time::Duration;

/// The machine's wall clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "this is the one place that asks the machine")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// Time since the machine was started, the time it was suspended included: a laptop that slept through its lease
/// finds out. It never goes backwards, and nobody sets it.
#[must_use]
pub fn boot_elapsed() -> Duration {
    // Elsewhere than on Linux the monotonic clock counts suspension itself (macOS) or nothing better is to be had.
    #[cfg(target_os = "linux")]
    let clock = rustix::time::ClockId::Boottime;
    #[cfg(not(target_os = "linux"))]
    let clock = rustix::time::ClockId::Monotonic;
    let time = rustix::time::clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let nanos = u32::try_from(time.tv_nsec).unwrap_or_default();
    Duration::new(seconds, nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_on() {
        let (wall, boot) = (SystemClock.now(), boot_elapsed());
        assert!(boot > Duration::ZERO);
        assert!(boot_elapsed() >= boot);
        assert!(SystemClock.now() >= wall);
    }
}
