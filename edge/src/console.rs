//! The pages for people: the console and the demo's dashboard. Part of the binary, nothing is fetched
//! from elsewhere.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use serde::Serialize;

use crate::config::Config;
use crate::http::Reply;

mod files;

/// No script, style or picture from anywhere else, nothing inline.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
     font-src 'self'; connect-src 'self' ws: wss:; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'";

/// What the pages tell a person about this edge.
#[derive(Debug, Serialize)]
struct Info<'a> {
    nats: String,
    ws: String,
    version: &'a str,
}

/// The pages.
#[derive(Debug)]
pub(crate) struct Console {
    info: Bytes,
}

impl Console {
    /// Pages for the edge with its WebSocket at `ws`.
    pub(crate) fn new(config: &Config, ws: &str) -> Self {
        let info = Info {
            nats: config
                .nats
                .servers
                .first()
                .map_or_else(String::new, ToString::to_string),
            ws: ws.to_owned(),
            version: env!("CARGO_PKG_VERSION"),
        };
        let info = serde_json::to_vec(&info).expect("strings are JSON");
        Self {
            info: Bytes::from(info),
        }
    }

    /// The page or file at `path`.
    pub(crate) fn page(&self, path: &str) -> Option<Reply> {
        if path == "/console/info.json" {
            return Some(reply("application/json", self.info.clone()));
        }
        let name = match path {
            "/" => "index.html",
            "/demo" => "demo.html",
            path => path.strip_prefix("/console/")?,
        };
        let (_, content) = files::FILES.iter().find(|(file, _)| *file == name)?;
        let extension = name.rsplit('.').next().unwrap_or_default();
        let kind = match extension {
            "html" => "text/html; charset=utf-8",
            "css" => "text/css; charset=utf-8",
            "js" => "text/javascript; charset=utf-8",
            "svg" => "image/svg+xml",
            _ => "application/octet-stream",
        };
        Some(reply(kind, Bytes::from_static(content)))
    }
}

fn reply(kind: &'static str, content: Bytes) -> Reply {
    let mut reply = Reply::new(Full::new(content));
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    reply
}
