//! `tailwater check`: reads a configuration and looks at its NATS side, and reports every mistake at once. It changes
//! nothing.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tailwater_broker::check::{self, OLDEST_SERVER};
use tailwater_broker::permissions::{ControlNeeds, Needs, least};
use tailwater_broker::stream::{Finding, Inspection, LIVE_PREFIX, inspect};
use tailwater_broker::{StreamSpec, bucket};
use tailwater_edge::config::{Config, Delivery, Namespace, NatsCredentials, environment};
use tailwater_edge::control::bucket_spec;
use tailwater_edge::identity::{self, Inspected};
use tailwater_edge::nats::broker_config;
use tailwater_edge::streams::specs;

use super::options::{ConfigFile, print_line};

/// What looking at one stream may take beside the connection.
const PER_STREAM: Duration = Duration::from_secs(10);

/// Check a configuration and the NATS side of it.
#[derive(Debug, Args)]
pub(super) struct Check {
    #[command(flatten)]
    file: ConfigFile,
    /// Read the configuration only, do not connect to NATS
    #[arg(long)]
    offline: bool,
}

impl Check {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let config = Config::load(self.file.path(), environment(), &[])?;
        print_line(&format!(
            "ok     configuration: {} namespaces",
            config.namespaces.iter().count()
        ))?;
        if config.admin.token.is_none() && !config.admin.listen.ip().is_loopback() {
            print_line(&format!(
                "warn   admin: {} is open to others and has no token, so it serves `/livez` and `/readyz` only: set \
                 `admin.token_file`",
                config.admin.listen
            ))?;
        }
        let specs = specs(&config.streams);
        if self.offline {
            print_permissions(&config, &specs, &[])?;
            return Ok(ExitCode::SUCCESS);
        }
        let mut mistakes = report_issuers(&config).await?;
        let nats = broker_config(&config.nats)?;
        let timeout = config.nats.connect_timeout * 2;
        let mut inspections = Vec::new();
        if !specs.is_empty() {
            let streams = u32::try_from(specs.len()).unwrap_or(u32::MAX);
            let timeout = timeout + PER_STREAM.saturating_mul(streams);
            let domain = config.nats.jetstream_domain.as_deref();
            inspections = inspect(&nats, domain, &specs, timeout).await?;
        }
        let subjects = subjects(&config, &inspections);
        let report = check::check(&nats, &subjects, timeout).await?;
        mistakes += report_server(&config, &report)?;
        mistakes += report_streams(&inspections)?;
        if let Some(bucket) =
            bucket_spec(&config.control).filter(|_| config.control.enabled && report.new_enough)
        {
            let domain = config.nats.jetstream_domain.as_deref();
            let finding = bucket::inspect(&nats, domain, &bucket, timeout).await;
            mistakes += report_finding(&format!("bucket {}", bucket.name), &finding)?;
        }
        for subject in &subjects {
            if report.refused.contains(subject) {
                mistakes += 1;
                print_line(&format!(
                    "error  NATS: the edge's user may not subscribe to `{subject}`: allow it in its permissions"
                ))?;
            } else {
                print_line(&format!("ok     NATS: may subscribe to `{subject}`"))?;
            }
        }
        print_permissions(&config, &specs, &inspections)?;
        Ok(if mistakes == 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}

/// Prints whether the keys of each issuer can be had, and counts the mistakes.
async fn report_issuers(config: &Config) -> anyhow::Result<usize> {
    let mut mistakes = 0;
    for Inspected { issuer, keys } in identity::inspect(&config.identity).await {
        match keys {
            Ok((usable, 0)) => print_line(&format!("ok     issuer {issuer}: keys: {usable}"))?,
            Ok((usable, skipped)) => print_line(&format!(
                "ok     issuer {issuer}: keys: {usable}; left out, since no token is verified with them: {skipped}"
            ))?,
            Err(error) => {
                mistakes += 1;
                print_line(&format!("error  issuer {issuer}: {error}"))?;
            }
        }
    }
    Ok(mistakes)
}

/// Prints what concerns the server as a whole, and counts the mistakes.
fn report_server(config: &Config, report: &check::Report) -> anyhow::Result<usize> {
    let mut mistakes = 0;
    if report.new_enough {
        print_line(&format!("ok     NATS: server {}", report.version))?;
    } else {
        mistakes += 1;
        let (major, minor) = OLDEST_SERVER;
        let version = &report.version;
        print_line(&format!(
            "error  NATS: server {version} is too old: {major}.{minor} or newer is needed"
        ))?;
    }
    if !report.may_use_inbox {
        mistakes += 1;
        let prefix = &config.nats.inbox_prefix;
        print_line(&format!(
            "error  NATS: the edge's user may not both publish and subscribe to `{prefix}.>`: \
             allow it in its permissions, or set `nats.inbox_prefix` to what they allow"
        ))?;
    }
    Ok(mistakes)
}

/// Prints what was found out about the streams, and counts the mistakes.
fn report_streams(inspections: &[Inspection]) -> anyhow::Result<usize> {
    let mut mistakes = 0;
    let mut forgeable = BTreeMap::new();
    for inspection in inspections {
        for finding in &inspection.findings {
            mistakes += report_finding(&format!("stream {}", inspection.stream), finding)?;
        }
        if let Some(can_be_forged) = inspection.can_be_forged {
            forgeable.insert(inspection.live_prefix.clone(), can_be_forged);
        }
    }
    for (prefix, can_be_forged) in forgeable {
        if can_be_forged {
            print_line(&format!(
                "warn   NATS: lets us publish on `{prefix}.>`, where live publications come from, so a service may be \
                 able to forge them: deny every user `permissions: {{ publish: {{ deny: [\"{prefix}.>\"] }} }}`"
            ))?;
        } else {
            print_line(&format!("ok     NATS: does not let us publish on `{prefix}.>`"))?;
        }
    }
    Ok(mistakes)
}

/// Prints what was found out about one thing in NATS; 1 if that is a mistake.
pub(super) fn report_finding(what: &str, finding: &Finding) -> anyhow::Result<usize> {
    let (level, text) = match finding {
        Finding::Fine(text) => ("ok    ", text),
        Finding::Pending(text) => ("change", text),
        Finding::Warning(text) => ("warn  ", text),
        Finding::Refusal(text) => ("error ", text),
    };
    print_line(&format!("{level} {what}: {text}"))?;
    Ok(usize::from(matches!(finding, Finding::Refusal(_))))
}

/// The NATS subjects that the edge subscribes to.
fn subjects(config: &Config, inspections: &[Inspection]) -> Vec<String> {
    let mut subjects = Vec::new();
    for namespace in config.namespaces.iter() {
        let prefix = match &namespace.delivery {
            Delivery::Live { .. } => None,
            Delivery::Durable { stream } => Some(live_prefix(stream, inspections)),
        };
        subjects.extend(plain_subjects(namespace).map(|subject| match &prefix {
            Some(prefix) => format!("{prefix}.{subject}"),
            None => subject,
        }));
    }
    if config.control.enabled {
        subjects.push(format!("{}.*", config.control.subject));
        let bucket = bucket_spec(&config.control);
        subjects.extend(bucket.map(|bucket| format!("$KV.{}.>", bucket.name)));
    }
    subjects
}

/// The NATS subjects that a namespace names.
fn plain_subjects(namespace: &Namespace) -> impl Iterator<Item = String> {
    namespace
        .channels
        .iter()
        .map(|pattern| match &namespace.subject_prefix {
            Some(prefix) => format!("{prefix}.{pattern}"),
            None => pattern.to_string(),
        })
}

fn live_prefix(stream: &str, inspections: &[Inspection]) -> Arc<str> {
    let found = inspections
        .iter()
        .find(|inspection| &*inspection.stream == stream);
    found.map_or_else(|| LIVE_PREFIX.into(), |inspection| inspection.live_prefix.clone())
}

/// Prints the least permissions, to be pasted into the configuration of a nats-server.
fn print_permissions(
    config: &Config,
    specs: &[StreamSpec],
    inspections: &[Inspection],
) -> anyhow::Result<()> {
    let user = match &config.nats.credentials {
        NatsCredentials::Password { user, .. } => user,
        _ => "edge",
    };
    let of_kind = |is_wanted: fn(&Namespace) -> bool| {
        let namespaces = config
            .namespaces
            .iter()
            .filter(move |namespace| is_wanted(namespace));
        namespaces
            .flat_map(|namespace| plain_subjects(namespace))
            .collect::<Vec<_>>()
    };
    let streams: Vec<_> = specs
        .iter()
        .map(|spec| (spec, live_prefix(&spec.name, inspections)))
        .collect();
    let mut publish = of_kind(|namespace| namespace.publish || namespace.request);
    let hooks = [&config.hooks.connect, &config.hooks.subscribe];
    publish.extend(hooks.into_iter().flatten().map(|hook| hook.subject.to_string()));
    let bucket = bucket_spec(&config.control);
    let text = least(&Needs {
        user,
        inbox_prefix: &config.nats.inbox_prefix,
        domain: config.nats.jetstream_domain.as_deref(),
        subscribe: &of_kind(|namespace| matches!(namespace.delivery, Delivery::Live { .. })),
        publish: &publish,
        streams: &streams,
        control: config.control.enabled.then_some(ControlNeeds {
            subject: &config.control.subject,
            bucket: bucket.as_ref(),
        }),
    });
    print_line(&format!(
        "\n# The least NATS permissions for this configuration, as nats-server reads them:\n{}",
        text.trim_end()
    ))
}
