//! What the system says of this process.

use std::{
    fs,
    time::{Duration, Instant},
};

use crate::Result;

/// Resident memory in KiB.
pub fn resident() -> Result<f64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()).ok_or("no VmRSS")?;
    Ok(kib.parse()?)
}

/// Time that all threads of this process have run, to the nanosecond.
pub fn processor_time() -> Result<Duration> {
    let mut nanos = 0;
    for thread in fs::read_dir("/proc/self/task")? {
        let stat = fs::read_to_string(thread?.path().join("schedstat"))?;
        nanos += stat.split(' ').next().ok_or("no schedstat")?.parse::<u64>()?;
    }
    Ok(Duration::from_nanos(nanos))
}

/// What was spent since it was made.
pub struct Spent {
    start: Instant,
    processor: Duration,
}

impl Spent {
    pub fn nothing() -> Result<Self> {
        Ok(Self { processor: processor_time()?, start: Instant::now() })
    }

    /// Seconds on the clock, and of processor time of the whole process.
    pub fn seconds(&self) -> Result<[f64; 2]> {
        let clock = self.start.elapsed().as_secs_f64();
        let processor = processor_time()?.saturating_sub(self.processor);
        Ok([clock, processor.as_secs_f64()])
    }
}
