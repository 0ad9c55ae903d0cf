//! Counts nothing, and says so.
//!
//! The consensus library counts the sizes of its batches in histograms of a crate of this name, which nobody reads
//! here: its feature `runtime-stats` is off. That crate makes its tables for all sixteen precisions at the first use,
//! 25 MiB for one that is used; half of what an idle agent had in memory. This has the same names and no tables.

use std::fmt;
use std::marker::PhantomData;

/// Has no counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram<T = ()>(PhantomData<T>);

impl<T> Histogram<T> {
    /// An empty one, as it stays.
    pub const fn new() -> Self {
        Histogram(PhantomData)
    }

    /// Forgets the value.
    pub const fn record(&mut self, _value: u64) {}

    /// Forgets the values.
    pub const fn record_n(&mut self, _value: u64, _count: u64) {}

    /// Of no samples.
    pub fn percentile_stats(&self) -> PercentileStats {
        PercentileStats::default()
    }
}

/// What the library prints when it is asked for its statistics: nothing was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of the other crate")]
pub struct PercentileStats {
    pub samples: u64,
    pub p0_1: u64,
    pub p1: u64,
    pub p5: u64,
    pub p10: u64,
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p99_9: u64,
}

impl fmt::Display for PercentileStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not counted")
    }
}

/// A chart of nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct AsciiChart;

impl AsciiChart {
    /// An empty one, as it stays.
    pub const fn new() -> Self {
        AsciiChart
    }

    /// Draws nothing.
    #[must_use]
    pub fn add(self, _name: &str, _histogram: Histogram) -> Self {
        self
    }

    /// As it is.
    #[must_use]
    pub const fn detailed(self) -> Self {
        self
    }
}

impl fmt::Display for AsciiChart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not counted")
    }
}
