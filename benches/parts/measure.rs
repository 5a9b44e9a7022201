//! Concurrent work, its wall time and its CPU time.

use std::cell::Cell;
use std::future::Future;
use std::time::Duration;

use actix_web::rt::SystemRunner;
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, SamplingMode, Throughput};
use futures_util::future::join_all;
use latchkey::clock::Stopwatch;
use rustix::time::{ClockId, clock_gettime};

/// What one measurement took in all, warm-up included.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Taken {
    /// Pieces of work.
    pub(crate) count: u64,
    /// User and system time of this process, all threads together.
    pub(crate) cpu: Duration,
}

/// Measures `work`, of which `lanes` pieces are always under way; `work` gets the number of its lane.
///
/// Prints the CPU time of a piece, and gives back the totals: a count of zero if this one was not
/// asked for on the command line.
pub(crate) fn measure<F: Future<Output = ()>>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    system: &SystemRunner,
    name: &str,
    lanes: usize,
    work: impl Fn(usize) -> F,
) -> Taken {
    let mut taken = Taken::default();
    // Every sample is long enough to keep all lanes busy.
    group.sampling_mode(SamplingMode::Flat).throughput(Throughput::Elements(1));
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|count| {
            let before = cpu_time();
            let elapsed = system.block_on(run(count, lanes, &work));
            taken.cpu += cpu_time().saturating_sub(before);
            taken.count += count;
            elapsed
        });
    });
    if let Ok(count @ 1..) = u32::try_from(taken.count) {
        println!("{:24}CPU:    {:.2?} each, over {count}", "", taken.cpu / count);
    }
    taken
}

/// Does `count` pieces of work, `lanes` at a time; how long they took together.
async fn run<F: Future<Output = ()>>(
    count: u64,
    lanes: usize,
    work: &impl Fn(usize) -> F,
) -> Duration {
    let left = Cell::new(count);
    let watch = Stopwatch::start();
    join_all((0..lanes).map(|lane| {
        let left = &left;
        async move {
            while let Some(rest) = left.get().checked_sub(1) {
                left.set(rest);
                work(lane).await;
            }
        }
    }))
    .await;
    watch.elapsed()
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let nanoseconds = u64::try_from(time.tv_nsec).unwrap_or_default();
    Duration::from_secs(seconds) + Duration::from_nanos(nanoseconds)
}
