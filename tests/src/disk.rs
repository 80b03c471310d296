//! A small disk of its own for a folder, to be filled: the kernel itself answers ENOSPC.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A mounted disk. Dropped, it is unmounted.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts one of so many bytes at a folder that is made for it; `None` where that is not allowed.
    pub fn mount(at: &Path, bytes: u64) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let options = format!("size={bytes}");
        let status = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(at).status();
        status.is_ok_and(|status| status.success()).then(|| Self(at.to_owned()))
    }

    /// Writes until nothing more fits; how many bytes did.
    pub fn fill(&self) -> u64 {
        let path = self.filler();
        let mut file = fs::OpenOptions::new().create(true).append(true).open(&path).unwrap();
        for size in [1 << 16, 1 << 12, 1] {
            while file.write_all(&vec![0u8; size]).is_ok() {}
        }
        fs::metadata(&path).unwrap().len()
    }

    /// Makes room again.
    pub fn empty(&self) {
        fs::remove_file(self.filler()).unwrap();
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a process that was killed a moment ago may still hold a file.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
