//! What the system knows of this process, under the names that Prometheus' own libraries give it. Read from
//! /proc when somebody asks; where there is none, nothing is told.

use std::fs;

/// How much the process takes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Process {
    /// Processor time, of user and system, in seconds.
    pub cpu_seconds: f64,
    /// Memory that is in use, in bytes.
    pub resident_bytes: u64,
    /// Memory that is mapped, in bytes.
    pub virtual_bytes: u64,
    /// When it started, in seconds since 1970.
    pub started: f64,
    /// Files and connections that are open.
    pub open_files: u64,
    /// Most that may be open.
    pub most_files: u64,
    /// Threads.
    pub threads: u64,
}

/// Linux tells all programs of times in hundredths of a second, whatever it counts in itself.
const TICKS_A_SECOND: f64 = 100.0;

impl Process {
    /// As it is now; `None` where the system does not tell.
    pub fn read() -> Option<Self> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        let boot = fs::read_to_string("/proc/stat").unwrap_or_default();
        let open_files = fs::read_dir("/proc/self/fd").map_or(0, |files| files.count() as u64);
        Self::parse(&stat, &status, &limits, &boot).map(|process| Self { open_files, ..process })
    }

    fn parse(stat: &str, status: &str, limits: &str, boot: &str) -> Option<Self> {
        // The name may hold anything, and ends with the last bracket; the third field follows.
        let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
        let field = |number: usize| fields.get(number - 3)?.trim().parse::<f64>().ok();
        let kilobytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().trim_end_matches(" kB").parse::<u64>().ok()
        };
        let booted = boot.lines().find_map(|line| line.strip_prefix("btime "));
        let booted: f64 = booted.and_then(|text| text.trim().parse().ok()).unwrap_or(0.0);
        let most_files = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
        Some(Self {
            cpu_seconds: (field(14)? + field(15)?) / TICKS_A_SECOND,
            resident_bytes: kilobytes("VmRSS:").unwrap_or(0) * 1024,
            virtual_bytes: field(23)? as u64,
            started: booted + field(22)? / TICKS_A_SECOND,
            open_files: 0,
            most_files: most_files
                .and_then(|line| line.split_whitespace().next()?.parse().ok())
                .unwrap_or(0),
            threads: field(20)? as u64,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_are_found_behind_a_name_with_brackets() {
        let stat = "7 (a) b) S 1 7 7 0 -1 0 1 0 0 0 250 50 0 0 20 0 9 0 1000 4096 77 1 0";
        let status = "Name:\ta) b\nVmRSS:\t   12 kB\nThreads:\t9\n";
        let limits =
            "Max processes 1 2 processes\nMax open files            1024     4096     files\n";
        let process = Process::parse(stat, status, limits, "cpu 1\nbtime 1700000000\n").unwrap();
        let expected = Process {
            cpu_seconds: 3.0,
            resident_bytes: 12 * 1024,
            virtual_bytes: 4096,
            started: 1_700_000_010.0,
            open_files: 0,
            most_files: 1024,
            threads: 9,
        };
        assert_eq!(process, expected);
    }

    #[test]
    fn this_process_is_told_of() {
        let process = Process::read().unwrap();
        assert!(process.resident_bytes > 1_000_000 && process.open_files > 0);
        assert!(process.started > 1_600_000_000.0 && process.threads > 0, "{process:?}");
    }
}
