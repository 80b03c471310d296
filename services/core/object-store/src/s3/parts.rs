//! Large objects in parts: what breaks off is one part, not all of it. S3 shows nothing until the last request, which
//! carries the condition, so an object is whole or absent in parts too.

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use super::{META_MARK, META_SHA256, S3Store, Verdict};
use crate::retry::{Attempt, Retry, random_mark};
use crate::{Error, ObjectName, PutResult, name};

/// Length of a part in bytes; what is no longer than two goes in one request. S3 takes 5 MiB to 5 GiB.
const PART_BYTES: usize = 16 * 1024 * 1024;

/// Whether an object of this length goes in parts.
pub(super) fn is_large(bytes: &Bytes) -> bool {
    bytes.len() > 2 * PART_BYTES
}

impl S3Store {
    /// Writes an object in parts; with `is_create` only unless one of that name is there when the last part is.
    pub(super) async fn put_parts(
        &self,
        name: &ObjectName,
        bytes: &Bytes,
        is_create: bool,
    ) -> Result<PutResult, Error> {
        if is_create && self.exists(name).await? {
            return Ok(PutResult::Exists);
        }
        let mark = random_mark();
        let id = Retry::new(self.what(name)).run(|| self.begin(name, bytes, &mark)).await?;
        let result = self.send_parts(name, bytes, &id, is_create, &mark).await;
        if !matches!(result, Ok(PutResult::Created)) {
            // Parts that nobody completes are billed until the bucket's own rule removes them.
            let abort = self.client.abort_multipart_upload().bucket(&self.at.bucket).key(self.key(name));
            let _ = abort.upload_id(&id).send().await;
        }
        result
    }

    async fn begin(&self, name: &ObjectName, bytes: &Bytes, mark: &str) -> Attempt<String> {
        let request = self
            .client
            .create_multipart_upload()
            .bucket(&self.at.bucket)
            .key(self.key(name))
            .checksum_algorithm(ChecksumAlgorithm::Sha256)
            .metadata(META_SHA256, name::sha256_hex(bytes))
            .metadata(META_MARK, mark);
        match request.send().await {
            Ok(answer) => match answer.upload_id {
                Some(id) => Attempt::Done(Ok(id)),
                None => Attempt::Again("an answer without an upload's id".to_owned()),
            },
            Err(e) => match self.judge(name, e) {
                Verdict::Absent => Attempt::Done(Err(self.no_bucket())),
                verdict => verdict.into_attempt(),
            },
        }
    }

    async fn send_parts(
        &self,
        name: &ObjectName,
        bytes: &Bytes,
        id: &str,
        is_create: bool,
        mark: &str,
    ) -> Result<PutResult, Error> {
        let mut parts = Vec::new();
        for (number, start) in (1..).zip((0..bytes.len()).step_by(PART_BYTES)) {
            let part = bytes.slice(start..bytes.len().min(start + PART_BYTES));
            let send = || self.send_part(name, id, number, &part);
            parts.push(Retry::new(self.what(name)).run(send).await?);
        }
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let mut retry = Retry::new(self.what(name));
        loop {
            let request = self
                .client
                .complete_multipart_upload()
                .bucket(&self.at.bucket)
                .key(self.key(name))
                .upload_id(id)
                .set_if_none_match(is_create.then(|| "*".to_owned()))
                .multipart_upload(parts.clone());
            let why = match request.send().await {
                Ok(_) => return Ok(PutResult::Created),
                Err(e) => match self.judge(name, e) {
                    Verdict::Again(why) => why,
                    Verdict::Final(e) => return Err(e),
                    // There is an object, or no such upload: it was ours if an answer got lost.
                    Verdict::Exists | Verdict::Absent => {
                        let found = Retry::new(self.what(name)).run(|| self.mark(name)).await?;
                        match found {
                            Some(found) if found == mark => return Ok(PutResult::Created),
                            _ if is_create && self.exists(name).await? => return Ok(PutResult::Exists),
                            _ => return Err(self.lost_upload(name)),
                        }
                    }
                },
            };
            retry.pause(why).await?;
        }
    }

    async fn send_part(
        &self,
        name: &ObjectName,
        id: &str,
        number: i32,
        part: &Bytes,
    ) -> Attempt<CompletedPart> {
        let sum = STANDARD.encode(name::sha256(part));
        let request = self
            .client
            .upload_part()
            .bucket(&self.at.bucket)
            .key(self.key(name))
            .upload_id(id)
            .part_number(number)
            .checksum_sha256(&sum)
            .body(ByteStream::from(part.clone()));
        match request.send().await {
            Ok(answer) => Attempt::Done(Ok(CompletedPart::builder()
                .part_number(number)
                .set_e_tag(answer.e_tag)
                .checksum_sha256(sum)
                .build())),
            Err(e) => match self.judge(name, e) {
                Verdict::Absent => Attempt::Done(Err(self.lost_upload(name))),
                verdict => verdict.into_attempt(),
            },
        }
    }

    async fn exists(&self, name: &ObjectName) -> Result<bool, Error> {
        use crate::ObjectStore as _;
        Ok(self.head(name).await?.is_some())
    }

    fn lost_upload(&self, name: &ObjectName) -> Error {
        Error::Unavailable {
            what: self.what(name),
            attempts: 1,
            why: "the store no longer knows the upload whose parts it took".to_owned(),
        }
    }
}
