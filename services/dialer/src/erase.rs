//! Keys of erased imports: the log says that they are erased, and then they are deleted. Whoever crashed in between, or
//! made a key again, is put right here; every dialer does it for its own key folder, leading or not.

use std::time::Duration;

use asterism_domain::State;
use asterism_runtime::keys::{Keyring, KeyringError};
use asterism_runtime::role::Deps;

/// Least time between two looks.
const PAUSE: Duration = Duration::from_secs(1);

/// Deletes what the log says is erased, at the start and whenever the log has moved.
pub async fn run(deps: Deps) {
    let mut head = deps.log.head();
    loop {
        head.mark_unchanged();
        for import in deps.log.read(erased) {
            let (keyring, name) = (deps.keyring.clone(), import.clone());
            match tokio::task::spawn_blocking(move || delete(&keyring, &name)).await {
                Ok(Err(error)) => {
                    tracing::error!(import, %error, "the key of an erased import is not deleted yet");
                }
                Ok(Ok(true)) => tracing::info!(import, "the key of an erased import is deleted"),
                Ok(Ok(false)) | Err(_) => {}
            }
        }
        tokio::time::sleep(PAUSE).await;
        // Without a change it looks again all the same: a failing disk may have come back.
        let _ = tokio::time::timeout(PAUSE * 10, head.changed()).await;
    }
}

/// Imports that are erased as a whole.
fn erased(state: &State) -> Vec<String> {
    let whole = state.erasures.iter().filter(|(_, erasure)| erasure.whole);
    whole.map(|(import, _)| import.clone()).collect()
}

/// Deletes an import's key; `false` if it is gone already.
pub(crate) fn delete(keyring: &Keyring, import: &str) -> Result<bool, KeyringError> {
    // Names come from the log: only a token is a file's name.
    if asterism_proto::origin::is_token(import) { keyring.erase_import(import) } else { Ok(false) }
}
