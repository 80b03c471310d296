//! What this machine has to have: a configuration, keys, room, a place for objects.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use asterism_object_store::{ObjectName, ObjectStore};
use asterism_proto::Role;
use asterism_runtime::config::Config;
use asterism_runtime::keys::{Keyring, KeyringError, random};
use bytes::Bytes;

use super::Check;
use crate::commands::{Context, shown, store};
use crate::error::CliError;

/// Below this the log soon cannot be written.
const DISK_FAIL_BYTES: u64 = 64 * 1024 * 1024;
/// Below this a campaign may fill the disk.
const DISK_WARN_BYTES: u64 = 1024 * 1024 * 1024;

pub(super) fn config(context: &Context, checks: &mut Vec<Check>) -> Option<Config> {
    let file = context.config_file();
    match (context.config(), file) {
        (Ok(config), Some(file)) => {
            checks.push(Check::ok("configuration", format!("{}, fleet {:?}", shown(&file), config.fleet)));
            Some(config)
        }
        (Ok(config), None) => {
            let found = format!("no file here, only defaults, fleet {:?}", config.fleet);
            checks.push(Check::warn("configuration", found, "asterism init, or name a file with --config"));
            Some(config)
        }
        (Err(error), _) => {
            checks.push(Check::fail(
                "configuration",
                error.to_string(),
                "mend what is named, then: asterism config check",
            ));
            None
        }
    }
}

pub(super) fn keys(config: &Config) -> Check {
    let dir = config.keys_dir();
    let opened = Keyring::open(&dir, &config.fleet).and_then(|keys| {
        keys.numbers()?;
        for role in Role::ALL.into_iter().filter(|role| *role != Role::Fleet) {
            keys.role(role)?;
        }
        Ok(keys)
    });
    match opened {
        Ok(keys) => match readable_by_others(&dir) {
            Some(file) => {
                let found = format!("{file} can be read by other users");
                Check::warn("keys", found, format!("chmod go= {}/*", shown(&dir)))
            }
            None => Check::ok("keys", format!("{}, anchor {}", shown(&dir), hex::encode(keys.anchor()))),
        },
        Err(error @ KeyringError::Io { .. }) => {
            Check::fail("keys", error.to_string(), "asterism init, or copy the fleet's keys there")
        }
        Err(error) => Check::fail("keys", error.to_string(), "restore the folder from its backup"),
    }
}

fn readable_by_others(dir: &Path) -> Option<String> {
    let entries = std::fs::read_dir(dir).ok()?;
    let open = |entry: &std::fs::DirEntry| {
        entry.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o077 != 0)
    };
    let found = entries.flatten().find(|entry| entry.file_name() != "anchor" && open(entry))?;
    Some(shown(&found.path()))
}

pub(super) fn disk(config: &Config) -> Check {
    let wanted = &config.paths.data_dir;
    let absolute = std::path::absolute(wanted).unwrap_or_else(|_| wanted.clone());
    // A folder that is still to be made will stand where its nearest ancestor does.
    let Some(there) = absolute.ancestors().find(|path| path.exists()) else {
        return Check::fail("disk", format!("{} does not exist", shown(&absolute)), "correct paths.data_dir");
    };
    match nix::sys::statvfs::statvfs(there) {
        Ok(stat) => {
            #[allow(clippy::useless_conversion)] // the types differ between systems
            let free = u64::from(stat.blocks_available()).saturating_mul(u64::from(stat.fragment_size()));
            let found = format!("{} MiB free for {}", free / (1024 * 1024), shown(wanted));
            let fix = "free some space, or move paths.data_dir to another disk";
            match free {
                0..DISK_FAIL_BYTES => Check::fail("disk", found, fix),
                DISK_FAIL_BYTES..DISK_WARN_BYTES => Check::warn("disk", found, fix),
                _ => Check::ok("disk", found),
            }
        }
        Err(error) => {
            Check::warn("disk", format!("the free space of {} is unknown: {error}", shown(there)), "")
        }
    }
}

pub(super) async fn objects(config: &Config) -> Check {
    let url = config.objects_url().unwrap_or_default();
    match try_objects(config).await {
        Ok(()) => Check::ok("objects", format!("{url} takes, gives back and removes")),
        Err(error) => Check::fail("objects", error.to_string(), "correct objects.url, or the rights on it"),
    }
}

async fn try_objects(config: &Config) -> Result<(), CliError> {
    let store = store(config).await?;
    let name = ObjectName::new(format!("doctor/{}", hex::encode(random::<8>()?)))?;
    let wrote = round_trip(store.as_ref(), &name).await;
    store.delete(&name).await?;
    wrote
}

async fn round_trip(store: &dyn ObjectStore, name: &ObjectName) -> Result<(), CliError> {
    let bytes = Bytes::from_static(b"asterism doctor");
    store.put(name, bytes.clone()).await?;
    let back = store.get(name, bytes.len() as u64).await?;
    if back == bytes {
        return Ok(());
    }
    Err(CliError::new("AST-U061", "the object store gives back other bytes than it took", ""))
}
