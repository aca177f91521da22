//! From the configuration's words about NATS to the broker's: reads the secrets.

use tailwater_broker::{Credentials, NatsConfig, TlsConfig};

use crate::config::{self, NatsCredentials, SecretSource};
use crate::error::EdgeError;

/// How the broker is to connect.
///
/// # Errors
/// [`EdgeError::Secret`] if the file of a secret cannot be read any more.
pub fn broker_config(config: &config::NatsConfig) -> Result<NatsConfig, EdgeError> {
    let credentials = match &config.credentials {
        NatsCredentials::Anonymous => Credentials::Anonymous,
        NatsCredentials::Password { user, password } => Credentials::UserPassword {
            user: user.clone(),
            password: read(password)?,
        },
        NatsCredentials::Token(token) => Credentials::Token(read(token)?),
        NatsCredentials::NkeySeed(seed) => Credentials::NkeySeed(read(seed)?),
        NatsCredentials::CredentialsFile(path) => Credentials::File(path.clone()),
    };
    let client_certificate = config.tls.client.as_ref();
    Ok(NatsConfig {
        servers: config.servers.iter().map(ToString::to_string).collect(),
        name: config.name.clone(),
        credentials,
        tls: TlsConfig {
            required: config.tls.required,
            first: config.tls.first,
            ca_file: config.tls.ca_file.clone(),
            client_certificate: client_certificate
                .map(|pair| (pair.cert_file.clone(), pair.key_file.clone())),
        },
        inbox_prefix: config.inbox_prefix.clone(),
        connect_timeout: config.connect_timeout,
        ping_interval: config.ping_interval,
        reconnect_max_delay: config.reconnect_max_delay,
    })
}

fn read(secret: &SecretSource) -> Result<String, EdgeError> {
    secret
        .read()
        .map(|secret| secret.reveal().to_owned())
        .map_err(EdgeError::Secret)
}
