//! Objects in an S3 bucket: the only file of the project that uses `aws-sdk-s3`.
//!
//! The SDK's own retries are off. Ours are bounded, jittered, and know that a lost answer is not a failure: a create
//! whose answer got lost finds its own mark on the object and still reports `Created`. What we wrote carries its
//! SHA-256, which S3 checks on arrival and we check on each read. Large objects go in parts (`s3/parts.rs`).

mod parts;

use std::time::{Duration, UNIX_EPOCH};

use async_trait::async_trait;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, ConfigLoader, Region};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{Credentials, RequestChecksumCalculation, ResponseChecksumValidation};
use aws_sdk_s3::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder;
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::primitives::ByteStream;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};

use crate::key;
use crate::location::S3Location;
use crate::retry::{Attempt, Retry};
use crate::{
    Entry, Error, MAX_OBJECT_BYTES, MAX_PAGE_ENTRIES, MAX_URL_VALID_S, ObjectMeta, ObjectName, ObjectStore,
    Page, PutResult, Upload, check_content, name,
};

/// One try of one operation, body included.
const ATTEMPT_TIMEOUT: Duration = Duration::from_mins(2);
/// Connecting, and waiting for the first byte of an answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(4);
/// Pages of keys that are no object names of ours, passed over in one listing.
const MAX_FOREIGN_PAGES: usize = 100;
/// User metadata: the SHA-256 of the content, in hex.
const META_SHA256: &str = "asterism-sha256";
/// User metadata: a random mark of one `put_if_absent`.
const META_MARK: &str = "asterism-mark";

/// A store whose objects are those of a bucket below a prefix.
#[derive(Debug, Clone)]
pub struct S3Store {
    client: Client,
    at: S3Location,
}

/// What an answer means for the next step.
enum Verdict {
    Absent,
    Exists,
    Again(String),
    Final(Error),
}

impl S3Store {
    /// Prepares a client. Credentials come from the address's key file, or like a region that is not given from the
    /// environment, the profile or the machine's role; nothing is sent yet.
    pub async fn open(at: S3Location) -> Result<Self, Error> {
        if let Some(file) = &at.key_file {
            let key = key::read(file).await?;
            return Self::open_with_key(at, &key.id, &key.secret).await;
        }
        Self::build(at, aws_config::defaults(BehaviorVersion::v2026_01_12())).await
    }

    /// The same with a fixed key instead, for servers that are not Amazon's.
    pub async fn open_with_key(at: S3Location, id: &str, secret: &str) -> Result<Self, Error> {
        let key = Credentials::new(id, secret, None, None, "given");
        Self::build(at, aws_config::defaults(BehaviorVersion::v2026_01_12()).credentials_provider(key)).await
    }

    async fn build(at: S3Location, loader: ConfigLoader) -> Result<Self, Error> {
        let http = aws_smithy_http_client::Builder::new()
            .tls_provider(Provider::Rustls(CryptoMode::Ring))
            .build_https();
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .operation_attempt_timeout(ATTEMPT_TIMEOUT);
        let mut loader =
            loader.http_client(http).retry_config(RetryConfig::disabled()).timeout_config(timeouts.build());
        if let Some(region) = &at.region {
            loader = loader.region(Region::new(region.clone()));
        }
        if let Some(endpoint) = &at.endpoint {
            loader = loader.endpoint_url(endpoint);
        }
        let shared = loader.load().await;
        if shared.region().is_none() {
            let why = "no region is given and the environment has none: add ?region=".to_owned();
            return Err(Error::BadUrl { url: format!("s3://{}", at.bucket), why });
        }
        let config = aws_sdk_s3::config::Builder::from(&shared)
            .force_path_style(at.endpoint.is_some())
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .build();
        Ok(Self { client: Client::from_conf(config), at })
    }

    fn key(&self, name: &ObjectName) -> String {
        format!("{}{name}", self.at.prefix)
    }

    fn what(&self, name: &ObjectName) -> String {
        format!("object {name} in bucket {}", self.at.bucket)
    }

    /// A write that S3 refuses when the bytes do not arrive as they left.
    fn put_request(&self, name: &ObjectName, bytes: &Bytes) -> PutObjectFluentBuilder {
        let hash = name::sha256(bytes);
        self.client
            .put_object()
            .bucket(&self.at.bucket)
            .key(self.key(name))
            .checksum_sha256(STANDARD.encode(hash))
            .metadata(META_SHA256, hex::encode(hash))
            .body(ByteStream::from(bytes.clone()))
    }

    async fn get_once(&self, name: &ObjectName, max_bytes: u64) -> Attempt<Bytes> {
        let got = self.client.get_object().bucket(&self.at.bucket).key(self.key(name)).send().await;
        match got {
            Ok(answer) => self.read_body(name, answer, max_bytes).await,
            Err(e) => match self.judge(name, e) {
                Verdict::Absent => Attempt::Done(Err(Error::NotFound { name: name.clone() })),
                verdict => verdict.into_attempt(),
            },
        }
    }

    async fn read_body(
        &self,
        name: &ObjectName,
        mut answer: GetObjectOutput,
        max_bytes: u64,
    ) -> Attempt<Bytes> {
        let too_large =
            |size_bytes| Attempt::Done(Err(Error::TooLarge { name: name.clone(), size_bytes, max_bytes }));
        let length = answer.content_length().and_then(|l| u64::try_from(l).ok());
        if let Some(length) = length.filter(|l| *l > max_bytes) {
            return too_large(length);
        }
        let mut bytes = BytesMut::with_capacity(length.unwrap_or(0) as usize);
        loop {
            match answer.body.try_next().await {
                Ok(Some(part)) => bytes.extend_from_slice(&part),
                Ok(None) => break,
                Err(e) => return Attempt::Again(shorten(&DisplayErrorContext(e))),
            }
            if bytes.len() as u64 > max_bytes {
                return too_large(bytes.len() as u64);
            }
        }
        if length.is_some_and(|l| l != bytes.len() as u64) {
            return Attempt::Again(format!("the answer ended after {} bytes", bytes.len()));
        }
        let bytes = bytes.freeze();
        let promised = answer.metadata().and_then(|m| m.get(META_SHA256));
        let is_right = promised.is_none_or(|hash| *hash == name::sha256_hex(&bytes));
        Attempt::Done(match check_content(name, &bytes) {
            Ok(()) if is_right => Ok(bytes),
            Ok(()) => Err(Error::WrongContent { name: name.clone() }),
            Err(e) => Err(e),
        })
    }

    /// The mark on an object, to find out whose create won after an answer was lost.
    async fn mark(&self, name: &ObjectName) -> Attempt<Option<String>> {
        match self.client.head_object().bucket(&self.at.bucket).key(self.key(name)).send().await {
            Ok(head) => Attempt::Done(Ok(head.metadata().and_then(|m| m.get(META_MARK)).cloned())),
            Err(e) => match self.judge(name, e) {
                Verdict::Absent => Attempt::Done(Ok(None)),
                verdict => verdict.into_attempt(),
            },
        }
    }

    async fn list_once(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Attempt<(Vec<(String, u64)>, bool)> {
        let answer = self
            .client
            .list_objects_v2()
            .bucket(&self.at.bucket)
            .prefix(format!("{}{prefix}", self.at.prefix))
            .set_start_after(after.map(|key| format!("{}{key}", self.at.prefix)))
            .max_keys(i32::try_from(limit).unwrap_or(i32::MAX))
            .send()
            .await;
        let page = match answer {
            Ok(page) => page,
            Err(e) => return Self::judge_at(format!("bucket {}", self.at.bucket), None, e).into_attempt(),
        };
        let entries = page.contents().iter().filter_map(|o| {
            let key = o.key()?.strip_prefix(&self.at.prefix)?;
            Some((key.to_owned(), o.size().and_then(|s| u64::try_from(s).ok()).unwrap_or(0)))
        });
        Attempt::Done(Ok((entries.collect(), page.is_truncated().unwrap_or(false))))
    }

    fn judge<E>(&self, name: &ObjectName, e: SdkError<E>) -> Verdict
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        Self::judge_at(self.what(name), Some(name), e)
    }

    fn judge_at<E>(what: String, name: Option<&ObjectName>, e: SdkError<E>) -> Verdict
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        let status = e.raw_response().map(|r| r.status().as_u16());
        let code = e.code().unwrap_or_default().to_owned();
        let is_answered = matches!(e, SdkError::ServiceError(_));
        let is_network = match &e {
            SdkError::TimeoutError(_) | SdkError::ResponseError(_) => true,
            SdkError::DispatchFailure(d) => d.is_io() || d.is_timeout() || d.as_other().is_some(),
            _ => false,
        };
        let why = shorten(&DisplayErrorContext(e));
        if is_network
            || matches!(code.as_str(), "SlowDown" | "RequestTimeout" | "InternalError" | "ServiceUnavailable")
        {
            return Verdict::Again(why);
        }
        let is_auth = matches!(code.as_str(), "ExpiredToken" | "RequestTimeTooSkewed" | "InvalidAccessKeyId");
        match status {
            Some(404) if code != "NoSuchBucket" && name.is_some() => Verdict::Absent,
            Some(412) => Verdict::Exists,
            Some(409) if code == "ConditionalRequestConflict" => Verdict::Again(why),
            Some(408 | 429 | 500..=599) => Verdict::Again(why),
            Some(401 | 403) => Verdict::Final(Error::Denied { what, why }),
            _ if is_auth || !is_answered => Verdict::Final(Error::Denied { what, why }),
            _ => Verdict::Final(Error::Refused { what, why }),
        }
    }
}

impl Verdict {
    /// For calls where neither an absent nor an existing object is an answer of its own.
    fn into_attempt<T>(self) -> Attempt<T> {
        match self {
            Self::Again(why) => Attempt::Again(why),
            Self::Final(e) => Attempt::Done(Err(e)),
            Self::Absent | Self::Exists => {
                Attempt::Again("an answer that does not fit the question".to_owned())
            }
        }
    }
}

#[async_trait]
impl ObjectStore for S3Store {
    async fn put_if_absent(&self, name: &ObjectName, bytes: Bytes) -> Result<PutResult, Error> {
        check_content(name, &bytes)?;
        if parts::is_large(&bytes) {
            return self.put_parts(name, &bytes, true).await;
        }
        let mark = crate::retry::random_mark();
        let mut is_unsure = false;
        let mut retry = Retry::new(self.what(name));
        loop {
            let request = self.put_request(name, &bytes).if_none_match("*").metadata(META_MARK, &mark);
            let why = match request.send().await {
                Ok(_) => return Ok(PutResult::Created),
                Err(e) => match self.judge(name, e) {
                    Verdict::Exists if !is_unsure => return Ok(PutResult::Exists),
                    Verdict::Exists => {
                        let found = Retry::new(self.what(name)).run(|| self.mark(name)).await?;
                        let is_ours = found.as_deref() == Some(mark.as_str());
                        return Ok(if is_ours { PutResult::Created } else { PutResult::Exists });
                    }
                    Verdict::Again(why) => why,
                    Verdict::Final(e) => return Err(e),
                    Verdict::Absent => return Err(self.no_bucket()),
                },
            };
            is_unsure = true;
            retry.pause(why).await?;
        }
    }

    async fn put(&self, name: &ObjectName, bytes: Bytes) -> Result<(), Error> {
        check_content(name, &bytes)?;
        if parts::is_large(&bytes) {
            return self.put_parts(name, &bytes, false).await.map(|_| ());
        }
        let put = || async {
            match self.put_request(name, &bytes).send().await {
                Ok(_) => Attempt::Done(Ok(())),
                Err(e) => match self.judge(name, e) {
                    Verdict::Absent => Attempt::Done(Err(self.no_bucket())),
                    verdict => verdict.into_attempt(),
                },
            }
        };
        Retry::new(self.what(name)).run(put).await
    }

    async fn get(&self, name: &ObjectName, max_bytes: u64) -> Result<Bytes, Error> {
        let max_bytes = max_bytes.min(MAX_OBJECT_BYTES);
        let get = || async {
            let attempt = tokio::time::timeout(ATTEMPT_TIMEOUT, self.get_once(name, max_bytes)).await;
            attempt.unwrap_or_else(|_| Attempt::Again("the body did not arrive in 2 minutes".to_owned()))
        };
        Retry::new(self.what(name)).run(get).await
    }

    async fn head(&self, name: &ObjectName) -> Result<Option<ObjectMeta>, Error> {
        let head = || async {
            match self.client.head_object().bucket(&self.at.bucket).key(self.key(name)).send().await {
                Ok(head) => {
                    let age = head.last_modified().and_then(|t| std::time::SystemTime::try_from(*t).ok());
                    let age = age.and_then(|t| t.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
                    let size_bytes = head.content_length().and_then(|l| u64::try_from(l).ok()).unwrap_or(0);
                    Attempt::Done(Ok(Some(ObjectMeta { size_bytes, modified_at_ms: age.as_millis() as u64 })))
                }
                Err(e) => match self.judge(name, e) {
                    Verdict::Absent => Attempt::Done(Ok(None)),
                    verdict => verdict.into_attempt(),
                },
            }
        };
        Retry::new(self.what(name)).run(head).await
    }

    async fn list(&self, prefix: &str, after: Option<&ObjectName>, limit: usize) -> Result<Page, Error> {
        name::check_prefix(prefix)?;
        let limit = limit.clamp(1, MAX_PAGE_ENTRIES);
        let mut from = after.map(|n| n.as_str().to_owned());
        for _ in 0..MAX_FOREIGN_PAGES {
            let what = format!("bucket {}", self.at.bucket);
            let (keys, is_cut) =
                Retry::new(what).run(|| self.list_once(prefix, from.as_deref(), limit)).await?;
            from = keys.last().map(|(key, _)| key.clone()).or(from);
            // A key no object name can have was put there by somebody else; it is not part of the store.
            let ours = keys.into_iter().filter_map(|(key, size_bytes)| {
                ObjectName::new(key).ok().map(|name| Entry { name, size_bytes })
            });
            let entries: Vec<_> = ours.collect();
            if !is_cut {
                return Ok(Page { entries, next: None });
            }
            if let Some(last) = entries.last() {
                let next = Some(last.name.clone());
                return Ok(Page { entries, next });
            }
        }
        let what = "pages of keys that are no object names".to_owned();
        Err(Error::TooMany { what, max: MAX_FOREIGN_PAGES })
    }

    async fn delete(&self, name: &ObjectName) -> Result<(), Error> {
        let delete = || async {
            match self.client.delete_object().bucket(&self.at.bucket).key(self.key(name)).send().await {
                Ok(_) => Attempt::Done(Ok(())),
                Err(e) => match self.judge(name, e) {
                    Verdict::Absent => Attempt::Done(Ok(())),
                    verdict => verdict.into_attempt(),
                },
            }
        };
        Retry::new(self.what(name)).run(delete).await
    }

    async fn fetch_url(&self, name: &ObjectName, valid_for_s: u32) -> Result<String, Error> {
        let valid = Duration::from_secs(u64::from(valid_for_s.clamp(1, MAX_URL_VALID_S)));
        let refused = |why| Error::Refused { what: self.what(name), why };
        let signing = PresigningConfig::expires_in(valid).map_err(|e| refused(e.to_string()))?;
        let request = self.client.get_object().bucket(&self.at.bucket).key(self.key(name));
        match request.presigned(signing).await {
            Ok(request) => Ok(request.uri().to_owned()),
            Err(e) => Err(Error::Denied { what: self.what(name), why: shorten(&DisplayErrorContext(e)) }),
        }
    }

    async fn upload_url(
        &self,
        name: &ObjectName,
        sha256: &[u8; 32],
        valid_for_s: u32,
    ) -> Result<Upload, Error> {
        let valid = Duration::from_secs(u64::from(valid_for_s.clamp(1, MAX_URL_VALID_S)));
        let refused = |why| Error::Refused { what: self.what(name), why };
        let signing = PresigningConfig::expires_in(valid).map_err(|e| refused(e.to_string()))?;
        let request = self
            .client
            .put_object()
            .bucket(&self.at.bucket)
            .key(self.key(name))
            .checksum_sha256(STANDARD.encode(sha256));
        match request.presigned(signing).await {
            Ok(request) => Ok(Upload {
                url: request.uri().to_owned(),
                headers: request.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            }),
            Err(e) => Err(Error::Denied { what: self.what(name), why: shorten(&DisplayErrorContext(e)) }),
        }
    }
}

impl S3Store {
    fn no_bucket(&self) -> Error {
        Error::Refused { what: format!("bucket {}", self.at.bucket), why: "it does not exist".to_owned() }
    }
}

/// The SDK's errors are long; the first part says what happened.
fn shorten(e: &impl std::fmt::Display) -> String {
    e.to_string().chars().take(300).collect()
}
