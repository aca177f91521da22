//! Spans, for those few things that somebody wants to see: what a publisher has sampled on its way to the clients, and of
//! what clients ask for, one in so many.
//!
//! Without a collector there is no [`Tracer`] but an empty one, and a span costs a look at that.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hyper::header::{HeaderMap, HeaderValue};
use opentelemetry::trace::{
    Span as _, SpanBuilder, SpanContext, SpanId, SpanKind, Status, TraceContextExt as _, TraceFlags, TraceId,
    TraceState, Tracer as _, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue, Value};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider};
use tailwater_broker::trace::{Sampled, TRACEPARENT, TRACESTATE, TraceHeaders, TraceParent, passable};

use super::collector::{Collector, Handed};
use crate::config::TelemetryConfig;

/// Where a collector takes spans (OTLP 1.x, section "OTLP/HTTP Request").
pub(crate) const PATH: &str = "/v1/traces";

/// How long the last spans may take to be sent.
const FLUSH: Duration = Duration::from_secs(2);

/// Makes spans, or none. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tracer(Option<Arc<SdkTracer>>);

/// Sends the spans that have ended: at most 2,048 wait, more are dropped.
#[derive(Debug)]
pub(crate) struct Spans(SdkTracerProvider);

/// One span; ends when it is dropped. Mostly there is none.
#[derive(Debug, Default)]
pub(crate) struct Span(Option<Box<opentelemetry_sdk::trace::Span>>);

/// Starts to make spans of the edge that `resource` describes, and to send them to `collector`. Must be called in a tokio runtime.
///
/// # Errors
/// What keeps the exporter from being built.
pub(crate) fn start(
    config: &TelemetryConfig,
    resource: Vec<(String, String)>,
    collector: Arc<Collector>,
) -> Result<(Tracer, Spans), opentelemetry_otlp::ExporterBuildError> {
    let exporter = SpanExporter::builder()
        .with_http()
        .with_endpoint(collector.url())
        .with_protocol(Protocol::HttpBinary)
        .with_timeout(config.timeout)
        .with_http_client(Handed(collector))
        .build()?;
    let attributes = resource
        .into_iter()
        .map(|(name, value)| KeyValue::new(name, value));
    let roots = Sampler::TraceIdRatioBased(f64::from(config.sample_per_million) / 1e6);
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_sampler(Sampler::ParentBased(Box::new(roots)))
        .with_resource(Resource::builder_empty().with_attributes(attributes).build())
        .build();
    let tracer = provider.tracer(env!("CARGO_PKG_NAME"));
    Ok((Tracer(Some(Arc::new(tracer))), Spans(provider)))
}

impl Spans {
    /// Sends what is left. Blocks for as long as the collector takes, two seconds at most.
    pub(crate) fn finish(self) {
        if let Err(error) = self.0.shutdown_with_timeout(FLUSH) {
            tracing::debug!(%error, "the last spans were not sent");
        }
    }
}

impl Tracer {
    /// A span of something that the edge does for a client. Without a parent it is the first of its trace, which is kept
    /// or not by chance.
    pub(crate) fn serve(&self, name: &'static str, parent: Option<TraceHeaders>) -> Span {
        let parent = parent.map(|caller| remote(caller.parent, caller.state.as_deref()));
        self.begin(name, SpanKind::Server, parent.as_ref())
    }

    /// The caller's span, as the headers of an HTTP request name it: once, or the trace begins anew (W3C Trace Context
    /// section 3.2.2).
    pub(crate) fn parent(&self, headers: &HeaderMap) -> Option<TraceHeaders> {
        self.0.as_ref()?;
        let mut named = headers.get_all(TRACEPARENT).iter();
        let parent = TraceParent::parse(named.next()?.as_bytes()).filter(|_| named.next().is_none())?;
        // What stands several times is one list (section 3.3.1).
        let states: Vec<_> = headers
            .get_all(TRACESTATE)
            .iter()
            .map(HeaderValue::as_bytes)
            .collect();
        let state = passable(&states.join(&b',')).map(str::to_owned);
        Some(TraceHeaders { parent, state })
    }

    /// A span of something that the edge asks of a service, as a part of `whole`; by itself, if there is none.
    pub(crate) fn ask(&self, name: &'static str, whole: Option<&Span>) -> Span {
        match whole {
            Some(Span(None)) => Span(None),
            Some(Span(Some(whole))) => self.begin(name, SpanKind::Client, Some(&local(whole))),
            None => self.begin(name, SpanKind::Client, None),
        }
    }

    /// A part of `whole` that goes on behind it.
    pub(crate) fn follow(&self, name: &'static str, whole: &Span) -> Span {
        match whole {
            Span(None) => Span(None),
            Span(Some(whole)) => self.begin(name, SpanKind::Internal, Some(&local(whole))),
        }
    }

    /// Spans of publications that have just been handed to so many sessions of one worker.
    pub(crate) fn delivered(
        &self,
        publications: &[Sampled],
        channel: &str,
        promise: &'static str,
        sessions: u64,
    ) {
        let Some(tracer) = &self.0 else { return };
        let end = SystemTime::now();
        for publication in publications {
            let concrete = match &*publication.channel {
                "" => channel,
                concrete => concrete,
            };
            let mut attributes = vec![
                KeyValue::new("messaging.system", "nats"),
                KeyValue::new("messaging.operation.type", "process"),
                KeyValue::new("messaging.destination.name", concrete.to_owned()),
                KeyValue::new("tailwater.channel", channel.to_owned()),
                KeyValue::new("tailwater.delivery", promise),
                KeyValue::new("tailwater.fan_out", sessions.cast_signed()),
            ];
            if let Some(stored_at) = publication.stored_at {
                let delay = end.duration_since(stored_at).unwrap_or_default();
                attributes.push(KeyValue::new("tailwater.delay_seconds", delay.as_secs_f64()));
            }
            let builder = SpanBuilder::from_name("deliver")
                .with_kind(SpanKind::Consumer)
                .with_start_time(publication.read_at)
                .with_attributes(attributes);
            let parent = remote(publication.parent, publication.state.as_deref());
            tracer
                .build_with_context(builder, &parent)
                .end_with_timestamp(end);
        }
    }

    fn begin(&self, name: &'static str, kind: SpanKind, parent: Option<&Context>) -> Span {
        let Some(tracer) = &self.0 else { return Span(None) };
        let builder = SpanBuilder::from_name(name).with_kind(kind);
        let none = Context::new();
        let span = tracer.build_with_context(builder, parent.unwrap_or(&none));
        // What is not kept is not carried about either.
        Span(span.is_recording().then(|| Box::new(span)))
    }
}

impl Span {
    /// Whether there is one; what is worth looking up only then.
    pub(crate) fn is_kept(&self) -> bool {
        self.0.is_some()
    }

    /// Notes something.
    pub(crate) fn note(&mut self, name: &'static str, value: impl Into<Value>) {
        if let Some(span) = &mut self.0 {
            span.set_attribute(KeyValue::new(name, value));
        }
    }

    /// It came to nothing, for this reason.
    pub(crate) fn fail(&mut self, reason: &dyn std::fmt::Display) {
        if let Some(span) = &mut self.0 {
            span.set_status(Status::error(reason.to_string()));
        }
    }

    /// What a message says whose reader is to go on with the trace.
    pub(crate) fn headers(&self) -> Option<TraceHeaders> {
        let context = self.0.as_ref()?.span_context();
        let state = context.trace_state().header();
        Some(TraceHeaders {
            parent: TraceParent {
                trace_id: context.trace_id().to_bytes(),
                span_id: context.span_id().to_bytes(),
                sampled: context.is_sampled(),
            },
            state: (!state.is_empty()).then_some(state),
        })
    }
}

fn local(span: &opentelemetry_sdk::trace::Span) -> Context {
    Context::new().with_remote_span_context(span.span_context().clone())
}

fn remote(parent: TraceParent, state: Option<&str>) -> Context {
    let flags = match parent.sampled {
        true => TraceFlags::SAMPLED,
        false => TraceFlags::default(),
    };
    // A state that cannot be read is left out (W3C Trace Context section 3.3).
    let state = state
        .and_then(|state| state.parse::<TraceState>().ok())
        .unwrap_or_default();
    let context = SpanContext::new(
        TraceId::from_bytes(parent.trace_id),
        SpanId::from_bytes(parent.span_id),
        flags,
        true,
        state,
    );
    Context::new().with_remote_span_context(context)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn parent(headers: &[(&'static str, String)]) -> Option<TraceHeaders> {
        let tracer = Tracer(Some(Arc::new(
            SdkTracerProvider::builder().build().tracer("test"),
        )));
        let headers = headers.iter().map(|(name, value)| {
            let value = HeaderValue::from_str(value).expect("a value");
            (hyper::header::HeaderName::from_static(name), value)
        });
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, value);
        }
        tracer.parent(&map)
    }

    #[test]
    fn a_caller_is_named_once_and_its_state_may_stand_in_several_headers() {
        let named = |value: &str| (TRACEPARENT, value.to_owned());
        let state = |value: &str| (TRACESTATE, value.to_owned());
        let found = parent(&[named(PARENT), state("a=1"), state("b=2")]).expect("a parent");
        assert_eq!(found.parent.to_string(), PARENT);
        assert_eq!(found.state.as_deref(), Some("a=1,b=2"));
        assert_eq!(parent(&[named(PARENT)]).expect("a parent").state, None);
        let long = state(&format!("a={}", "x".repeat(600)));
        assert_eq!(parent(&[named(PARENT), long]).expect("a parent").state, None);
        for none in [
            &[][..],
            &[named("00-nonsense")],
            &[named(PARENT), named(PARENT)],
            &[state("a=1")],
        ] {
            assert_eq!(parent(none), None);
        }
    }
}
