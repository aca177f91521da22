//! The same metrics as OpenTelemetry has them (OTLP 1.x), cumulative since the start of the edge.

use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics,
    ScopeMetrics, Sum, metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use tailwater_broker::health::{self, Measured};

use super::{Family, Kind, Metrics, Series, Value};

const CUMULATIVE: i32 = AggregationTemporality::Cumulative as i32;

/// All metrics, of the edge that `resource` describes.
pub(crate) fn request(metrics: &Metrics, resource: &[(String, String)]) -> ExportMetricsServiceRequest {
    let span = (nanos(metrics.started_at), nanos(SystemTime::now()));
    let scope_metrics = ScopeMetrics {
        scope: Some(InstrumentationScope {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..InstrumentationScope::default()
        }),
        metrics: metrics
            .read()
            .map(|(family, series)| metric(family, &series, span))
            .collect(),
        ..ScopeMetrics::default()
    };
    let attributes = resource.iter().map(|(key, value)| attribute(key, value));
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(Resource {
                attributes: attributes.collect(),
                ..Resource::default()
            }),
            scope_metrics: vec![scope_metrics],
            ..ResourceMetrics::default()
        }],
    }
}

fn metric(family: &'static Family, series: &[Series], span: (u64, u64)) -> Metric {
    let data = match family.kind {
        Kind::Counter => metric::Data::Sum(Sum {
            data_points: numbers(family, series, span),
            aggregation_temporality: CUMULATIVE,
            is_monotonic: true,
        }),
        Kind::Gauge => metric::Data::Gauge(Gauge {
            data_points: numbers(family, series, span),
        }),
        Kind::Histogram => metric::Data::Histogram(Histogram {
            data_points: histograms(family, series, span),
            aggregation_temporality: CUMULATIVE,
        }),
    };
    Metric {
        name: family.name.to_owned(),
        description: family.question.to_owned(),
        unit: family.unit.to_owned(),
        data: Some(data),
        ..Metric::default()
    }
}

fn numbers(family: &Family, series: &[Series], (from, to): (u64, u64)) -> Vec<NumberDataPoint> {
    let each = series.iter().filter_map(|series| match &series.value {
        Value::Number(number) => Some(NumberDataPoint {
            attributes: labels(family, series),
            start_time_unix_nano: from,
            time_unix_nano: to,
            value: Some(number_data_point::Value::AsInt(number.cast_signed())),
            ..NumberDataPoint::default()
        }),
        Value::Histogram(_) => None,
    });
    each.collect()
}

fn histograms(family: &Family, series: &[Series], (from, to): (u64, u64)) -> Vec<HistogramDataPoint> {
    let each = series.iter().filter_map(|series| match &series.value {
        Value::Histogram(measured) => Some(HistogramDataPoint {
            attributes: labels(family, series),
            start_time_unix_nano: from,
            time_unix_nano: to,
            ..histogram(measured)
        }),
        Value::Number(_) => None,
    });
    each.collect()
}

fn histogram(measured: &Measured) -> HistogramDataPoint {
    HistogramDataPoint {
        count: measured.count(),
        sum: Some(measured.sum_micros as f64 / 1e6),
        bucket_counts: measured.counts.to_vec(),
        explicit_bounds: health::Histogram::bounds_secs().collect(),
        ..HistogramDataPoint::default()
    }
}

fn labels(family: &Family, series: &Series) -> Vec<KeyValue> {
    let names = family.labels.iter().map(|(name, _)| *name);
    let pairs = names.zip(&series.labels);
    pairs.map(|(name, value)| attribute(name, value)).collect()
}

fn attribute(key: &str, value: &str) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue {
            value: Some(any_value::Value::StringValue(value.to_owned())),
        }),
        ..KeyValue::default()
    }
}

fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
