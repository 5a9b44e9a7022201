//! Histograms that are written without locks, and read without stopping who writes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of what one part of a request takes that waits for nobody, in microseconds.
const PARTS: &[u64] =
    &[10, 50, 100, 500, 1_000, 5_000, 10_000, 50_000, 100_000, 500_000, 1_000_000];

/// Upper bounds of what somebody waits for, in microseconds.
const WAITS: &[u64] = &[
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 5_000_000, 10_000_000,
];

/// Upper bounds of how many share one batch.
const SHARES: &[u64] = &[1, 2, 4, 8, 16, 32, 64, 128, 256, 512];

const MICROSECONDS: f64 = 1e6;
const NANOSECONDS: f64 = 1e9;

/// Counts by bucket, the open one last, and the sum of what was counted.
#[derive(Debug)]
struct Buckets {
    bounds: &'static [u64],
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

impl Buckets {
    fn new(bounds: &'static [u64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, counts, sum: AtomicU64::new(0) }
    }

    fn count(&self, value: u64, add: u64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(add, Ordering::Relaxed);
    }

    fn read(&self, bound_scale: f64, sum_scale: f64) -> Reading {
        let bounds = self.bounds.iter().map(|bound| *bound as f64 / bound_scale);
        let counts = self.counts.iter().map(|count| count.load(Ordering::Relaxed));
        Reading {
            buckets: bounds.chain(std::iter::once(f64::INFINITY)).zip(counts).collect(),
            sum: self.sum.load(Ordering::Relaxed) as f64 / sum_scale,
        }
    }
}

/// A histogram at a moment, in base units.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// Upper bounds with how much fell below each and above the one before; the last is open.
    pub buckets: Vec<(f64, u64)>,
    /// The sum of all that was counted.
    pub sum: f64,
}

impl Reading {
    /// How much was counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|(_, count)| count).sum()
    }
}

/// A histogram of durations.
#[derive(Debug)]
pub struct Durations(Buckets);

impl Default for Durations {
    /// For one part of a request: from ten microseconds to a second.
    fn default() -> Self {
        Self(Buckets::new(PARTS))
    }
}

impl Durations {
    /// For what somebody waits for: from a tenth of a millisecond to ten seconds, in finer steps.
    pub fn of_waits() -> Self {
        Self(Buckets::new(WAITS))
    }

    /// Counts one duration.
    pub fn observe(&self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.0.count(micros, nanos);
    }

    /// In seconds.
    pub fn read(&self) -> Reading {
        self.0.read(MICROSECONDS, NANOSECONDS)
    }
}

/// A histogram of how many share one batch.
#[derive(Debug)]
pub struct Sizes(Buckets);

impl Default for Sizes {
    fn default() -> Self {
        Self(Buckets::new(SHARES))
    }
}

impl Sizes {
    /// Counts one batch.
    pub fn observe(&self, size: usize) {
        self.0.count(size as u64, size as u64);
    }

    /// As counted.
    pub fn read(&self) -> Reading {
        self.0.read(1.0, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_fall_into_their_buckets() {
        let durations = Durations::default();
        for micros in [1, 10, 11, 2_000_000] {
            durations.observe(Duration::from_micros(micros));
        }
        let reading = durations.read();
        assert_eq!(reading.buckets[0], (0.000_01, 2));
        assert_eq!(reading.buckets[1], (0.000_05, 1));
        assert_eq!(reading.buckets.last(), Some(&(f64::INFINITY, 1)));
        assert!((reading.sum - 2.000_022).abs() < 1e-9);
        assert_eq!(reading.count(), 4);
    }

    #[test]
    fn sizes_fall_into_their_buckets() {
        let sizes = Sizes::default();
        for size in [1, 1, 3, 600] {
            sizes.observe(size);
        }
        let reading = sizes.read();
        assert_eq!(reading.buckets[0], (1.0, 2));
        assert_eq!(reading.buckets[2], (4.0, 1));
        assert_eq!(reading.buckets.last(), Some(&(f64::INFINITY, 1)));
        assert!((reading.sum - 605.0).abs() < 1e-9);
    }
}
