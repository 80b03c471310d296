//! What keeps the objects of `asterism up`: a folder, or an S3 server of this process on one (feature `aws`), which
//! services, commands and nodes then use as they would Amazon's.

use std::path::Path;

use anyhow::bail;

use super::args::{ObjectsKind, UpArgs};

/// The folder of a folder store, below the system's folder.
const FOLDER: &str = "objects";
/// What the S3 server serves, below the system's folder.
#[cfg(feature = "aws")]
const SERVED: &str = "s3";

/// The objects' address, and what must live for as long as it is used.
pub(super) struct Objects {
    pub url: String,
    #[cfg(feature = "aws")]
    _server: Option<asterism_object_store::FolderServer>,
}

/// Starts what `--objects` asks for.
pub(super) async fn start(args: &UpArgs, dir: &Path) -> anyhow::Result<Objects> {
    refuse_other(args.objects, dir)?;
    match args.objects {
        ObjectsKind::Folder => Ok(Objects {
            url: format!("file://{}", dir.join(FOLDER).display()),
            #[cfg(feature = "aws")]
            _server: None,
        }),
        ObjectsKind::S3 => start_server(dir).await,
    }
}

/// A system's objects stay where they are: under the other kind none of them would be found.
fn refuse_other(kind: ObjectsKind, dir: &Path) -> anyhow::Result<()> {
    let (other, say) = match kind {
        ObjectsKind::Folder => ("s3/objects", "s3"),
        ObjectsKind::S3 => (FOLDER, "folder"),
    };
    let is_used = std::fs::read_dir(dir.join(other)).is_ok_and(|mut entries| entries.next().is_some());
    if is_used {
        bail!(
            "AST-U085: the objects of this system are in {}: say --objects {say}",
            dir.join(other).display()
        );
    }
    Ok(())
}

#[cfg(not(feature = "aws"))]
async fn start_server(_dir: &Path) -> anyhow::Result<Objects> {
    bail!(
        "AST-U086: this program was built without S3: build it with --features aws, or leave out --objects s3"
    )
}

#[cfg(feature = "aws")]
async fn start_server(dir: &Path) -> anyhow::Result<Objects> {
    use anyhow::Context as _;
    use asterism_runtime::keys::random;

    // A new key at each start: it signs for this process's server alone.
    let (id, secret) = (hex::encode(random::<10>()?), hex::encode(random::<20>()?));
    let file = dir.join("keys/objects-key");
    super::system::write_secret(&file, &format!("{id} {secret}\n"))
        .with_context(|| format!("AST-U087: writing {}", file.display()))?;
    let server = asterism_object_store::FolderServer::start(&dir.join(SERVED), FOLDER, &id, &secret).await?;
    let file = asterism_object_store::percent_encode(&file);
    Ok(Objects { url: format!("{}&key_file={file}", server.url()), _server: Some(server) })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn objects_are_never_looked_for_where_they_are_not() {
        let dir = tempfile::tempdir().unwrap();
        for kind in [ObjectsKind::Folder, ObjectsKind::S3] {
            refuse_other(kind, dir.path()).unwrap();
        }
        std::fs::create_dir_all(dir.path().join("s3/objects/blobs")).unwrap();
        refuse_other(ObjectsKind::S3, dir.path()).unwrap();
        let said = refuse_other(ObjectsKind::Folder, dir.path()).unwrap_err().to_string();
        assert!(said.starts_with("AST-U085: ") && said.ends_with("say --objects s3"), "{said}");
    }
}
