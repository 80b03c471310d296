//! Every rendered file against its golden copy; `ASTERISM_GOLDEN=update` writes them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use proptest::prelude::*;

use super::*;

fn settings() -> AsteriskSettings {
    AsteriskSettings {
        dir: "/var/lib/asterism/i-0abc".into(),
        modules_dir: "/usr/lib/asterisk/modules".into(),
        node: "i-0abc".into(),
        ami_port: 5038,
        ami_secret: "a1b2c3d4e5f6a7b8c9d0".into(),
        step_port: 8088,
        step_secret: "0f1e2d3c4b5a69788796".into(),
        sip_address: Ipv4Addr::new(10, 0, 0, 7),
        sip_port: 5060,
        external_address: Some(Ipv4Addr::new(203, 0, 113, 9)),
        rtp_start: 20_000,
        rtp_end: 20_399,
        trunk_ca_file: Some("/etc/ssl/certs/ca-certificates.crt".into()),
        trunks: vec![
            plain_trunk("trunk-a", "sip.example.com", 5060),
            plain_trunk("trunk-b", "198.51.100.4", 5070),
        ],
    }
}

#[test]
fn every_file_is_as_its_golden_copy() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let update = std::env::var("ASTERISM_GOLDEN").is_ok_and(|word| word == "update");
    let files = settings().files().unwrap();
    assert_eq!(files.len(), 18);
    for file in &files {
        let path = golden.join(file.name);
        if update {
            std::fs::create_dir_all(&golden).unwrap();
            std::fs::write(&path, &file.text).unwrap();
        }
        let expected = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(file.text, expected, "{}", file.name);
        assert!(!file.text.contains("@TRUNK") && !file.text.contains("_PORT@"), "{} has a hole", file.name);
    }
    let private: Vec<_> = files.iter().filter(|file| file.private).map(|file| file.name).collect();
    assert_eq!(private, ["extensions.conf", "manager.conf", "trunks.conf"]);
}

#[test]
fn files_with_secrets_are_their_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    AsteriskSettings { dir: dir.path().to_owned(), external_address: None, ..settings() }.write().unwrap();
    let mode = |name: &str| {
        std::fs::metadata(dir.path().join("etc").join(name)).unwrap().permissions().mode() & 0o777
    };
    assert_eq!((mode("manager.conf"), mode("extensions.conf"), mode("trunks.conf")), (0o600, 0o600, 0o600));
    let pjsip = std::fs::read_to_string(dir.path().join("etc/pjsip.conf")).unwrap();
    let trunks = std::fs::read_to_string(dir.path().join("etc/trunks.conf")).unwrap();
    assert!(!pjsip.contains("external_") && trunks.contains("bind_rtp_to_media_address = yes"), "{trunks}");
    // What came by order since is not undone by a start.
    std::fs::write(dir.path().join("etc/trunks.conf"), "; ordered\n").unwrap();
    AsteriskSettings { dir: dir.path().to_owned(), ..settings() }.write().unwrap();
    assert_eq!(std::fs::read_to_string(dir.path().join("etc/trunks.conf")).unwrap(), "; ordered\n");
}

#[test]
fn an_endpoint_has_no_name_that_a_carrier_knows() {
    let pjsip = settings().trunks().unwrap();
    let name = |secret: &str| endpoint(secret, "trunk-a");
    assert!(pjsip.contains(&format!("[{}]\ntype = endpoint\n", name(&settings().ami_secret))));
    assert!(!pjsip.contains("[trunk-a]\ntype = endpoint"));
    assert_ne!(name("a1b2c3d4e5f6a7b8c9d0"), name("a1b2c3d4e5f6a7b8c9d1"));
    assert_eq!(name("a1b2c3d4e5f6a7b8c9d0").len(), 16);
}

#[test]
fn values_that_could_leave_their_place_are_refused() {
    let bends: [fn(&mut AsteriskSettings); 15] = [
        |s| s.node = "a\nb".into(),
        |s| s.ami_secret = "short".into(),
        |s| s.ami_secret = "a1b2c3d4e5f6a7b8;x".into(),
        |s| s.step_secret = "${SHELL(reboot)}aaaaaaaaaa".into(),
        |s| s.ami_port = 0,
        |s| s.rtp_start = 20_001,
        |s| s.rtp_end = 19_000,
        |s| s.dir = "/tmp/a b".into(),
        |s| s.dir = "relative".into(),
        |s| s.modules_dir = "/x\n[options]".into(),
        |s| s.trunk_ca_file = Some("/a\n[b".into()),
        |s| s.trunks[0].trunk = "global".into(),
        |s| s.trunks[0].trunk = "trunk-b".into(),
        |s| s.trunks[0] = plain_trunk("trunk-a", "a]b", 5060),
        |s| s.trunks[0] = plain_trunk("trunk-a", "300.1.1.1", 5060),
    ];
    for (number, bend) in bends.into_iter().enumerate() {
        let mut bent = settings();
        bend(&mut bent);
        let error = bent.files().expect_err(&format!("case {number} was taken"));
        let code = &error.to_string()[..8];
        assert!(["AST-A006", "AST-A026"].contains(&code), "{error}");
    }
}

proptest! {
    #[test]
    fn no_value_adds_a_line(name in "[ -~\\n\\r;=\\[\\]]{0,20}", host in "[ -~\\n]{0,20}", secret in "[ -~\\n]{0,40}") {
        let base = settings();
        let mut bent = settings();
        bent.trunks[0] = plain_trunk(&name, &host, 5060);
        bent.ami_secret = if secret.len() >= 16 { secret } else { bent.ami_secret };
        if let Ok(files) = bent.files() {
            for (file, plain) in files.iter().zip(base.files().unwrap()) {
                prop_assert_eq!(file.text.lines().count(), plain.text.lines().count(), "{}", file.name);
                prop_assert!(!file.text.contains('\r'));
            }
        }
    }
}
