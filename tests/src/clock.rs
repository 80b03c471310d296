//! A wall clock that jumps, under programs that know nothing of it: a small library before the C library adds so many
//! seconds to what the kernel says. Monotonic time stays what it is.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Answers for the C library's `clock_gettime`, `gettimeofday` and `time`.
const LIBRARY: &str = include_str!("clock/wall_clock.c");

/// The wall clock of all programs started with [`WallClock::env`].
pub struct WallClock {
    library: PathBuf,
    file: PathBuf,
}

impl WallClock {
    /// Builds the library in a folder, with the compiler that links Rust programs too.
    pub fn build(dir: &Path) -> Self {
        let (library, file) = (dir.join("wall_clock.so"), dir.join("step"));
        let source = dir.join("wall_clock.c");
        fs::write(&source, LIBRARY).unwrap();
        fs::write(&file, 0i64.to_ne_bytes()).unwrap();
        let built =
            Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(&source).status();
        assert!(built.as_ref().is_ok_and(|status| status.success()), "cc: {built:?}");
        let clock = Self { library, file };
        clock.step(3_600);
        let told = Command::new("date").arg("+%s").envs(clock.env()).output().unwrap();
        let told: u64 = String::from_utf8(told.stdout).unwrap().trim().parse().unwrap();
        let now = asterism_runtime::leader::now_ms() / 1_000;
        assert!(told.abs_diff(now + 3_600) < 60, "a program sees {told} at {now}: the clock does not jump");
        clock.step(0);
        clock
    }

    /// What makes a program see it.
    pub fn env(&self) -> Vec<(String, String)> {
        let text = |path: &Path| path.display().to_string();
        vec![("LD_PRELOAD".to_owned(), text(&self.library)), ("WALL_CLOCK_STEP".to_owned(), text(&self.file))]
    }

    /// From now on the clock is this far from the true one.
    pub fn step(&self, seconds: i64) {
        fs::OpenOptions::new()
            .write(true)
            .open(&self.file)
            .unwrap()
            .write_all_at(&seconds.to_ne_bytes(), 0)
            .unwrap();
    }
}
