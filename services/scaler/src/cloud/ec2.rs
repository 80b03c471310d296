//! Instances of Amazon EC2: the only file of the project that uses `aws-sdk-ec2`.
//!
//! The intent id is the client token, and a tag set by the same call, so that an instance is found by its intent when
//! the token has expired. The SDK's retries are off: an answer that got lost is reported as an unknown outcome, and who
//! asked repeats with the same intent. Every call passes one limiter.

mod addresses;
mod codes;
mod limit;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_ec2::Client;
use aws_sdk_ec2::config::Credentials;
use aws_sdk_ec2::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_ec2::operation::run_instances::builders::RunInstancesFluentBuilder;
use aws_sdk_ec2::types::{
    Filter, HttpTokensState, Instance as Ec2Instance, InstanceInterruptionBehavior,
    InstanceMarketOptionsRequest, InstanceMetadataEndpointState, InstanceMetadataOptionsRequest,
    InstanceStateName, InstanceType, LaunchTemplateSpecification, MarketType, ResourceType, ShutdownBehavior,
    SpotInstanceType, SpotMarketOptions, Tag, TagSpecification,
};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use self::limit::{Kind, Limiter};
use super::{
    Cloud, CloudError, ErrorKind, Instance, InstanceState, LaunchRequest, TAG_FLEET, TAG_INTENT, TAG_REQUEST,
    code,
};

/// One try of one call.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);
/// Connecting.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(4);
/// Instances asked for in one page.
const PAGE_INSTANCES: i32 = 500;
/// Most pages of one listing.
const MAX_PAGES: usize = 100;
/// Most ids in one call to terminate.
const MAX_TERMINATED_TOGETHER: usize = 100;
/// Characters of a request's digest in its tag.
const TAGGED_DIGEST_CHARS: usize = 32;

/// Which fleet, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ec2Config {
    /// Name of the fleet; only instances tagged with it are seen.
    pub fleet: String,
    /// The region; the environment decides when absent.
    pub region: Option<String>,
    /// Another server than Amazon's.
    pub endpoint: Option<String>,
    /// A fixed key, for servers that are not Amazon's; else the environment, the profile or the machine's role gives one.
    pub key: Option<AccessKey>,
}

/// A fixed key. Its secret is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessKey {
    /// The public half.
    pub id: String,
    /// The secret half.
    pub secret: String,
}

impl fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The provider `ec2`. Clones share the connection pool and the limiter.
#[derive(Debug, Clone)]
pub struct Ec2Cloud {
    client: Client,
    fleet: String,
    limiter: Arc<Limiter>,
    page_instances: i32,
}

impl Ec2Cloud {
    /// Prepares a client; nothing is sent yet.
    pub async fn open(config: Ec2Config) -> Result<Self, CloudError> {
        let http = aws_smithy_http_client::Builder::new()
            .tls_provider(Provider::Rustls(CryptoMode::Ring))
            .build_https();
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .operation_attempt_timeout(ATTEMPT_TIMEOUT);
        let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .http_client(http)
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts.build());
        if let Some(region) = config.region {
            loader = loader.region(Region::new(region));
        }
        if let Some(endpoint) = config.endpoint {
            loader = loader.endpoint_url(endpoint);
        }
        if let Some(key) = config.key {
            loader = loader.credentials_provider(Credentials::new(key.id, key.secret, None, None, "given"));
        }
        let shared = loader.load().await;
        if shared.region().is_none() {
            let why = "no region is configured and the environment has none";
            return Err(CloudError::new(ErrorKind::Permanent, code::BAD_REQUEST, "ec2", why));
        }
        Ok(Self {
            client: Client::new(&shared),
            fleet: config.fleet,
            limiter: Arc::new(Limiter::new()),
            page_instances: PAGE_INSTANCES,
        })
    }

    /// Changes how many instances one page of a listing asks for (5 to 1,000).
    #[must_use]
    pub fn with_page(mut self, instances: u16) -> Self {
        self.page_instances = i32::from(instances.clamp(5, 1_000));
        self
    }

    /// What an error means, told to the limiter.
    fn judged<E>(&self, kind: Kind, e: SdkError<E>, what: &str) -> CloudError
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        let error = judge(e, what, kind != Kind::List);
        if error.code == code::THROTTLED {
            self.limiter.was_refused(kind);
        }
        error
    }

    /// The instances that carry our fleet's tag and the given ones. Complete, or an error.
    async fn describe(&self, tags: &[(&str, &str)], what: &str) -> Result<Vec<Ec2Instance>, CloudError> {
        let filters: Vec<_> = [(TAG_FLEET, self.fleet.as_str())]
            .iter()
            .chain(tags)
            .map(|(tag, value)| Filter::builder().name(format!("tag:{tag}")).values(*value).build())
            .collect();
        let mut found = BTreeMap::new();
        let mut token: Option<String> = None;
        for _ in 0..MAX_PAGES {
            self.limiter.turn(Kind::List, 0, what).await?;
            let page = self
                .client
                .describe_instances()
                .set_filters(Some(filters.clone()))
                .max_results(self.page_instances)
                .set_next_token(token.clone())
                .send()
                .await
                .map_err(|e| self.judged(Kind::List, e, what))?;
            self.limiter.went_well(Kind::List);
            let next = page.next_token().filter(|t| !t.is_empty()).map(str::to_owned);
            for instance in
                page.reservations.into_iter().flatten().flat_map(|r| r.instances.unwrap_or_default())
            {
                let Some(id) = instance.instance_id.clone() else { continue };
                found.insert(id, instance);
            }
            if next.is_none() {
                return Ok(found.into_values().collect());
            }
            if next == token {
                let why = "the listing does not come forward";
                return Err(CloudError::new(ErrorKind::Transient, code::UNREACHABLE, what, why));
            }
            token = next;
        }
        let why = format!("more than {MAX_PAGES} pages");
        Err(CloudError::new(ErrorKind::Permanent, code::TOO_MANY, what, why))
    }

    /// The instances of an intent that were launched before.
    async fn find(&self, r: &LaunchRequest, digest: &str, what: &str) -> Result<Vec<Instance>, CloudError> {
        let found = self.describe(&[(TAG_INTENT, &r.intent_id)], what).await?;
        if found.iter().any(|i| tag(i, TAG_REQUEST).is_some_and(|tagged| tagged != digest)) {
            let why = "it was launched before with other parameters; make a new intent";
            return Err(CloudError::new(ErrorKind::Permanent, code::INTENT_MISMATCH, what, why));
        }
        Ok(found.iter().filter_map(instance).collect())
    }

    fn run_request(&self, r: &LaunchRequest, digest: &str) -> RunInstancesFluentBuilder {
        let mut tags = r.tags.clone();
        tags.entry("Name".to_owned()).or_insert_with(|| format!("asterism-{}", self.fleet));
        tags.insert(TAG_FLEET.to_owned(), self.fleet.clone());
        tags.insert(TAG_INTENT.to_owned(), r.intent_id.clone());
        tags.insert(TAG_REQUEST.to_owned(), digest.to_owned());
        let tags: Vec<_> = tags.into_iter().map(|(k, v)| Tag::builder().key(k).value(v).build()).collect();
        let tagged =
            |kind| TagSpecification::builder().resource_type(kind).set_tags(Some(tags.clone())).build();
        let metadata = InstanceMetadataOptionsRequest::builder()
            .http_endpoint(InstanceMetadataEndpointState::Enabled)
            .http_tokens(HttpTokensState::Required)
            .http_put_response_hop_limit(1)
            .build();
        let template = r.launch_template.as_ref().map(|t| {
            let spec = LaunchTemplateSpecification::builder();
            if t.starts_with("lt-") { spec.launch_template_id(t) } else { spec.launch_template_name(t) }
                .build()
        });
        // Taken away, it ends: a stopped one would bill for its volume.
        let spot = r.spot.then(|| {
            let options = SpotMarketOptions::builder()
                .spot_instance_type(SpotInstanceType::OneTime)
                .instance_interruption_behavior(InstanceInterruptionBehavior::Terminate);
            InstanceMarketOptionsRequest::builder()
                .market_type(MarketType::Spot)
                .spot_options(options.build())
                .build()
        });
        let some = |text: &String| (!text.is_empty()).then(|| text.clone());
        let groups = (!r.security_group_ids.is_empty()).then(|| r.security_group_ids.clone());
        self.client
            .run_instances()
            .min_count(1)
            .max_count(i32::try_from(r.count.max(1)).unwrap_or(1))
            .client_token(&r.intent_id)
            .set_instance_market_options(spot)
            .set_image_id(some(&r.image_id))
            .set_instance_type(some(&r.instance_type).map(|t| InstanceType::from(t.as_str())))
            .set_subnet_id(r.subnet_id.clone())
            .set_security_group_ids(groups)
            .set_launch_template(template)
            .set_user_data(r.user_data.as_ref().map(|d| STANDARD.encode(d)))
            .metadata_options(metadata)
            // A node that powers itself off must not stay behind stopped, with its volume on the bill.
            .instance_initiated_shutdown_behavior(ShutdownBehavior::Terminate)
            .tag_specifications(tagged(ResourceType::Instance))
            .tag_specifications(tagged(ResourceType::Volume))
    }

    async fn terminate_together(&self, ids: &[String]) -> Result<(), CloudError> {
        let what = match ids {
            [id] => format!("terminating {id}"),
            _ => format!("terminating {} instances", ids.len()),
        };
        self.limiter.turn(Kind::End, ids.len() as u32, &what).await?;
        let sent = self.client.terminate_instances().set_instance_ids(Some(ids.to_vec())).send().await;
        sent.map_err(|e| self.judged(Kind::End, e, &what))?;
        self.limiter.went_well(Kind::End);
        Ok(())
    }
}

#[async_trait]
impl Cloud for Ec2Cloud {
    async fn launch(&self, r: &LaunchRequest) -> Result<Vec<Instance>, CloudError> {
        r.validate()?;
        let what = format!("launching intent {}", r.intent_id);
        let digest: String = r.digest()?.chars().take(TAGGED_DIGEST_CHARS).collect();
        let count = r.count.max(1);
        // The token alone is enough while it lasts; the tag still tells when it does not. A listing may lack what was
        // launched a moment ago: only one with all of them answers for the token.
        let known = self.find(r, &digest, &what).await?;
        if known.len() >= count as usize {
            return Ok(known);
        }
        self.limiter.turn(Kind::Run, count, &what).await?;
        let answer = match self.run_request(r, &digest).send().await {
            Ok(answer) => answer,
            Err(e) if e.code() == Some(codes::TERMINATED_TOKEN) => {
                let gone = self.judged(Kind::Run, e, &what);
                let known = self.find(r, &digest, &what).await?;
                return if known.is_empty() { Err(gone) } else { Ok(known) };
            }
            Err(e) => return Err(self.judged(Kind::Run, e, &what)),
        };
        self.limiter.went_well(Kind::Run);
        let launched: Vec<_> = answer.instances().iter().filter_map(instance).collect();
        if launched.is_empty() {
            let why = "the answer names no instance";
            return Err(CloudError::new(ErrorKind::UnknownOutcome, code::UNREACHABLE, what, why));
        }
        Ok(launched)
    }

    async fn list(&self) -> Result<Vec<Instance>, CloudError> {
        let found = self.describe(&[], "listing instances").await?;
        Ok(found.iter().filter_map(instance).collect())
    }

    async fn volumes(&self) -> Result<Vec<String>, CloudError> {
        let what = "listing volumes";
        let filter = Filter::builder().name(format!("tag:{TAG_FLEET}")).values(&self.fleet).build();
        let (mut found, mut token) = (Vec::new(), None::<String>);
        for _ in 0..MAX_PAGES {
            self.limiter.turn(Kind::List, 0, what).await?;
            let asked =
                self.client.describe_volumes().filters(filter.clone()).max_results(self.page_instances);
            let page = asked.set_next_token(token.clone()).send().await;
            let page = page.map_err(|e| self.judged(Kind::List, e, what))?;
            self.limiter.went_well(Kind::List);
            found.extend(page.volumes().iter().filter_map(|v| v.volume_id()).map(str::to_owned));
            match page.next_token().filter(|next| !next.is_empty()) {
                None => return Ok(found),
                Some(next) => token = Some(next.to_owned()),
            }
        }
        let why = format!("more than {MAX_PAGES} pages");
        Err(CloudError::new(ErrorKind::Permanent, code::TOO_MANY, what, why))
    }

    async fn addresses(&self) -> Result<Vec<String>, CloudError> {
        self.addresses_left().await
    }

    async fn associate(&self, instance: &str, address: &str) -> Result<(), CloudError> {
        self.give(instance, address).await
    }

    async fn disassociate(&self, instance: &str, address: &str) -> Result<(), CloudError> {
        self.take_back(instance, address).await
    }

    async fn terminate(&self, ids: &[String]) -> Result<(), CloudError> {
        let mut first_error = None;
        for batch in ids.chunks(MAX_TERMINATED_TOGETHER) {
            let Err(error) = self.terminate_together(batch).await else { continue };
            // One bad id spoils the call for all of them; throttling and lost answers are no fault of an id.
            let is_spoilt = error.code == code::NO_SUCH_INSTANCE
                || (error.kind == ErrorKind::Permanent && !error.is_of_credentials());
            if batch.len() == 1 || !is_spoilt {
                first_error = first_error.or(Some(error));
                continue;
            }
            for id in batch {
                if let Err(error) = self.terminate_together(std::slice::from_ref(id)).await {
                    first_error = first_error.or(Some(error));
                }
            }
        }
        first_error.map_or(Ok(()), Err)
    }
}

/// An instance in our words; `None` without an id.
fn instance(i: &Ec2Instance) -> Option<Instance> {
    let state = match i.state().and_then(|s| s.name()) {
        Some(InstanceStateName::Pending) => InstanceState::Pending,
        Some(InstanceStateName::Running) => InstanceState::Running,
        Some(InstanceStateName::ShuttingDown) => InstanceState::ShuttingDown,
        Some(InstanceStateName::Terminated) => InstanceState::Terminated,
        Some(InstanceStateName::Stopping) => InstanceState::Stopping,
        Some(InstanceStateName::Stopped) => InstanceState::Stopped,
        _ => InstanceState::Unknown,
    };
    let launched_at_ms =
        i.launch_time().and_then(|t| t.to_millis().ok()).and_then(|ms| u64::try_from(ms).ok());
    Some(Instance {
        instance_id: i.instance_id()?.to_owned(),
        intent_id: tag(i, TAG_INTENT).map(str::to_owned),
        state,
        launched_at_ms: launched_at_ms.unwrap_or(0),
        private_address: i.private_ip_address().map(str::to_owned),
    })
}

fn tag<'a>(i: &'a Ec2Instance, name: &str) -> Option<&'a str> {
    i.tags().iter().find(|t| t.key() == Some(name)).and_then(Tag::value)
}

fn judge<E>(e: SdkError<E>, what: &str, is_mutating: bool) -> CloudError
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let status = e.raw_response().map_or(0, |r| r.status().as_u16());
    let ec2_code = e.code().unwrap_or_default().to_owned();
    let is_sent = match &e {
        SdkError::ServiceError(_) | SdkError::TimeoutError(_) | SdkError::ResponseError(_) => true,
        SdkError::DispatchFailure(d) => d.is_io() || d.is_timeout() || d.as_other().is_some(),
        _ => false,
    };
    let is_answered = matches!(e, SdkError::ServiceError(_));
    let message = match e.message() {
        Some(message) => message.to_owned(),
        None => DisplayErrorContext(e).to_string(),
    };
    let message: String = message.chars().take(300).collect();
    if !is_sent {
        return codes::unsigned(what, &message);
    }
    if is_answered {
        return codes::error(&ec2_code, status, is_mutating, what, &message);
    }
    CloudError::new(codes::ambiguous(is_mutating), code::UNREACHABLE, what, message)
        .next("nothing; if it lasts: curl -sS https://ec2.REGION.amazonaws.com/ from this machine")
}
