//! `prove` and `check-proof`.

use std::fs::File;
use std::io::{Read, Write};

use serde::Serialize;

use super::args::{CheckProofArgs, ProveArgs};
use super::{show, with};
use crate::Error;
use crate::proof::check::{self, Proved};
use crate::proof::make::{self, At};
use crate::proof::{FILE_MAX_BYTES, ProofFile};

pub(super) fn prove(args: &ProveArgs, out: &mut dyn Write) -> Result<(), Error> {
    let file = with(&args.log, |pass| match (&args.consistency.as_deref(), &args.event) {
        (Some([old, new]), _) => make::consistency(pass, *old, *new),
        (_, Some(event)) => make::inclusion(pass, event, args.at.map_or(At::Newest, At::Size)),
        _ => Err(Error::Unprovable { what: "nothing".into(), why: "name an event".into() }),
    })?;
    let text = file.to_text();
    let Some(path) = &args.out else { return Ok(out.write_all(text.as_bytes())?) };
    let bad = |why: String| Error::File { path: path.clone(), why };
    let proved = check::check(&file, args.log.anchor.read()?).map_err(bad)?;
    File::create_new(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|e| bad(e.to_string()))?;
    show(args.json, &proved, out, |out| {
        writeln!(out, "written to {}", path.display())?;
        proved.print(out)
    })
}

/// What `check-proof --json` prints.
#[derive(Serialize)]
struct Answer<'a> {
    proof_ok: bool,
    #[serde(flatten)]
    proved: Option<&'a Proved>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

pub(super) fn check(args: &CheckProofArgs, out: &mut dyn Write) -> Result<bool, Error> {
    let anchor = args.anchor.read()?;
    let mut bytes = Vec::new();
    File::open(&args.file)
        .and_then(|file| file.take(FILE_MAX_BYTES as u64 + 1).read_to_end(&mut bytes))
        .map_err(|error| Error::File { path: args.file.clone(), why: error.to_string() })?;
    let text = str::from_utf8(&bytes).map_err(|_| "it is no text".to_owned());
    let result = text.and_then(ProofFile::from_text).and_then(|file| check::check(&file, anchor));
    match result {
        Ok(proved) => {
            let answer = Answer { proof_ok: true, proved: Some(&proved), problem: None };
            show(args.json, &answer, out, |out| proved.print(out))?;
            Ok(true)
        }
        Err(why) => {
            let error = Error::NotProved { path: args.file.clone(), why };
            if !args.json {
                return Err(error);
            }
            let answer = Answer { proof_ok: false, proved: None, problem: Some(error.to_string()) };
            show(true, &answer, out, |_| Ok(()))?;
            Ok(false)
        }
    }
}
