//! The only reader of time.
//!
//! Everything that asks "what time is it" gets a [`Clock`]; tests inject a manual one. A running
//! server combines the monotonic clock with an offset: that of the system's clock on SQLite, that
//! of the database's clock on PostgreSQL, so that all nodes agree.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A moment, in whole milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The moment that lies `milliseconds` after the Unix epoch.
    pub const fn from_millis(milliseconds: i64) -> Self {
        Self(milliseconds)
    }

    /// The moment that lies `seconds` after the Unix epoch.
    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    /// Milliseconds since the Unix epoch: what the stores keep.
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, rounded down: what tokens carry.
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// This moment moved on by `duration`; saturates.
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(millis(duration)))
    }

    /// This moment moved back by `duration`; saturates.
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(millis(duration)))
    }

    /// The time from `earlier` to this moment; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// The moment that an RFC 3339 text says; `None` for anything else.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let moment = OffsetDateTime::parse(text, &Rfc3339).ok()?;
        let millis = moment.unix_timestamp_nanos().div_euclid(1_000_000);
        i64::try_from(millis).ok().map(Self)
    }

    /// RFC 3339 in UTC, to the millisecond and always as long, as the log shows it.
    pub fn to_rfc3339_millis(self) -> String {
        let seconds = self.to_rfc3339();
        let millis = self.0.rem_euclid(1000);
        match seconds.strip_suffix('Z') {
            Some(seconds) => format!("{seconds}.{millis:03}Z"),
            None => seconds,
        }
    }

    /// RFC 3339 in UTC, to the second, as every JSON answer shows it.
    pub fn to_rfc3339(self) -> String {
        OffsetDateTime::from_unix_timestamp(self.seconds())
            .ok()
            .and_then(|moment| moment.format(&Rfc3339).ok())
            .unwrap_or_else(|| format!("{}s", self.seconds()))
    }
}

impl std::str::FromStr for Timestamp {
    type Err = time::error::Parse;

    /// Reads RFC 3339, whatever its offset.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let moment = OffsetDateTime::parse(text, &Rfc3339)?;
        let nanoseconds = moment.unix_timestamp_nanos();
        // Four digits of years are far within.
        Ok(Self::from_millis(i64::try_from(nanoseconds / 1_000_000).unwrap_or(i64::MAX)))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_rfc3339())
    }
}

impl JsonSchema for Timestamp {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Timestamp".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "date-time" })
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Tells the time. Cheap to clone; all clones share one offset.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Source>);

#[derive(Debug)]
enum Source {
    /// Monotonic time since `origin`, plus `offset` milliseconds since the epoch.
    Running { origin: Instant, offset: AtomicI64 },
    /// Stands still until it is moved.
    Manual { now: AtomicI64 },
}

impl Clock {
    /// A clock that starts from the system's time.
    pub fn system() -> Self {
        #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
        let origin = Instant::now();
        let clock = Self(Arc::new(Source::Running { origin, offset: AtomicI64::new(0) }));
        clock.synchronize(Self::system_time(), Duration::ZERO);
        clock
    }

    /// A clock that stands at `now` until [`Clock::advance`] moves it: for tests.
    pub fn manual(now: Timestamp) -> Self {
        Self(Arc::new(Source::Manual { now: AtomicI64::new(now.millis()) }))
    }

    /// The present moment.
    pub fn now(&self) -> Timestamp {
        match &*self.0 {
            Source::Running { origin, offset } => {
                Timestamp(offset.load(Ordering::Relaxed).saturating_add(millis(origin.elapsed())))
            }
            Source::Manual { now } => Timestamp(now.load(Ordering::SeqCst)),
        }
    }

    /// Follows the time that is asked for elsewhere, and says what it was.
    ///
    /// # Errors
    /// That of the question; the clock goes on as it was then.
    pub async fn follow<E>(
        &self,
        question: impl Future<Output = Result<Timestamp, E>>,
    ) -> Result<Timestamp, E> {
        let watch = Stopwatch::start();
        let reference = question.await?;
        self.synchronize(reference, watch.elapsed());
        Ok(reference)
    }

    /// Takes over a time that was right at some moment of the last `took`: nobody knows better than that, so what
    /// is off by less stays. A slow answer moves no clock away from those of the other nodes. A manual clock
    /// ignores it.
    fn synchronize(&self, reference: Timestamp, took: Duration) {
        if let Source::Running { offset, .. } = &*self.0 {
            let doubt = took / 2;
            let ahead = self.now().millis().saturating_sub(reference.plus(doubt).millis());
            if u128::from(ahead.unsigned_abs()) > doubt.as_millis() {
                offset.fetch_sub(ahead, Ordering::Relaxed);
            }
        }
    }

    /// Moves a manual clock on; does nothing to a running one.
    pub fn advance(&self, by: Duration) {
        if let Source::Manual { now } = &*self.0 {
            now.fetch_add(millis(by), Ordering::SeqCst);
        }
    }

    /// What the machine's own clock says, for comparing it with the database's.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
    pub fn system_time() -> Timestamp {
        Timestamp(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, millis))
    }
}

/// Measures how long something takes, for metrics and logs.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts measuring.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Time since the start.
    pub fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_stands_until_it_is_moved() {
        let clock = Clock::manual(Timestamp::from_seconds(100));
        let twin = clock.clone();
        clock.advance(Duration::from_millis(1500));
        assert_eq!(twin.now(), Timestamp::from_millis(101_500));
        assert_eq!(twin.now().seconds(), 101);
    }

    #[test]
    fn a_running_clock_takes_over_a_reference_time() {
        let clock = Clock::system();
        clock.synchronize(Timestamp::from_seconds(1_000), Duration::ZERO);
        assert!(clock.now().since(Timestamp::from_seconds(1_000)) < Duration::from_secs(60));
    }

    #[test]
    fn a_slow_answer_counts_as_the_middle_of_the_wait_and_moves_no_clock_that_may_be_right() {
        let (then, wait) = (Timestamp::from_seconds(1_000_000), Duration::from_secs(600));
        let clock = Clock::system();
        clock.synchronize(then, Duration::ZERO);
        // It may have been so at the beginning of the wait, or at its end.
        clock.synchronize(then.minus(wait / 2), wait);
        clock.synchronize(then.minus(Duration::from_secs(1)), wait);
        assert!(clock.now().since(then) < Duration::from_secs(60));
        let later = then.plus(Duration::from_secs(10_000));
        clock.synchronize(later, wait);
        let middle = later.plus(wait / 2);
        assert!(clock.now() >= middle && clock.now().since(middle) < Duration::from_secs(60));
    }

    #[test]
    fn times_are_written_as_rfc_3339_in_utc() {
        assert_eq!(Timestamp::from_seconds(1_700_000_000).to_rfc3339(), "2023-11-14T22:13:20Z");
        for (millis, shown) in [
            (1_700_000_000_000, "2023-11-14T22:13:20.000Z"),
            (1_700_000_000_007, "2023-11-14T22:13:20.007Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(Timestamp::from_millis(millis).to_rfc3339_millis(), shown);
        }
    }

    #[test]
    fn moments_are_read_with_any_offset_and_nothing_else_is() {
        let parse = |text| Timestamp::parse_rfc3339(text).map(Timestamp::millis);
        assert_eq!(parse("1970-01-01T00:00:01Z"), Some(1_000));
        assert_eq!(parse("1970-01-01T02:00:00.25+02:00"), Some(250));
        for wrong in ["", "1970-01-01", "1970-01-01T00:00:00", "1970-13-01T00:00:00Z", "1"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
