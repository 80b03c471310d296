//! Chance that can be had again, how much of it, and what it costs.

/// A tenth of the cases by default; all of them with `ASTERISM_TEST_FULL=1`.
pub fn count(all: u64) -> u64 {
    if std::env::var_os("ASTERISM_TEST_FULL").is_some() { all } else { all / 10 }
}

/// A generator named by `ASTERISM_TEST_SEED`.
pub struct Random(u64);

impl Random {
    pub fn seeded() -> Self {
        let seed = std::env::var("ASTERISM_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(|| u64::from(std::process::id()) * 2_654_435_761);
        println!("ASTERISM_TEST_SEED={seed}");
        Self(seed | 1)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// Most memory this process ever held, in KiB.
pub fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
