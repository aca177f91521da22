//! Where measurements and traces are sent.

use super::*;

#[test]
fn nothing_is_sent_until_a_collector_is_named() {
    let telemetry = load(NEWS).telemetry;
    assert!(telemetry.endpoint.is_none() && !telemetry.makes_spans());
    let text = format!("{NEWS}[telemetry]\notlp_endpoint = \"http://collector:4318\"\n");
    let telemetry = load(&text).telemetry;
    assert!(telemetry.makes_spans() && telemetry.metrics);
    assert_eq!(telemetry.metrics_interval, Duration::from_secs(60));
    assert_eq!(telemetry.sample_per_million, 10_000);
    let resource = telemetry.resource();
    assert_eq!(resource[0], ("service.name".to_owned(), "tailwater".to_owned()));
    assert!(!load(&format!("{text}traces = false\n")).telemetry.makes_spans());
}

#[test]
fn each_edge_is_an_instance_of_its_own_and_nothing_is_said_of_it_twice() {
    let of = |key: &str, standard: &[(&str, &str)]| {
        let folder = Folder::new(&format!("{NEWS}[telemetry]\n{key}\n"));
        let config = folder.load(standard, &[]).expect("a valid configuration");
        let resource = config.telemetry.resource();
        let mut names: Vec<_> = resource.iter().map(|(name, _)| name.clone()).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), resource.len(), "{resource:?}");
        move |name: &str| {
            let found = resource.iter().find(|(other, _)| other == name);
            found.expect("it is there").1.clone()
        }
    };
    let (first, second) = (
        of("", &[])("service.instance.id"),
        of("", &[])("service.instance.id"),
    );
    assert_ne!(first, second);
    // The form of a random UUID.
    let (version, variant) = (&first[14..15], &first[19..20]);
    assert_eq!((first.len(), version), (36, "4"), "{first}");
    assert!("89ab".contains(variant), "{first}");
    assert_eq!(first.matches('-').count(), 4);
    let named = of("resource_attributes = \"service.instance.id=edge-0\"", &[]);
    assert_eq!(named("service.instance.id"), "edge-0");
    // As OpenTelemetry's own libraries have it: the variable for the name wins, then the attributes.
    let attributes = ("OTEL_RESOURCE_ATTRIBUTES", "service.name=one");
    assert_eq!(of("", &[attributes])("service.name"), "one");
    let both = [attributes, ("OTEL_SERVICE_NAME", "other")];
    assert_eq!(of("", &both)("service.name"), "other");
}

#[test]
fn the_standard_variables_count_and_ours_win_over_them() {
    let folder = Folder::new(NEWS);
    let standard = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://standard:4318"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=b"),
        ("OTEL_SERVICE_NAME", "gateway"),
        ("OTEL_RESOURCE_ATTRIBUTES", "k8s.pod.name=edge-0,zone=a%20b"),
        ("OTEL_PROPAGATORS", "b3"),
    ];
    let telemetry = folder
        .load(&standard, &[])
        .expect("a valid configuration")
        .telemetry;
    let endpoint = |telemetry: &TelemetryConfig| telemetry.endpoint.as_ref().map(ToString::to_string);
    assert_eq!(endpoint(&telemetry).as_deref(), Some("http://standard:4318"));
    assert_eq!(telemetry.service_name, "gateway");
    let attributes = [("k8s.pod.name", "edge-0"), ("zone", "a b")];
    assert_eq!(telemetry.resource_attributes, pairs(&attributes));
    assert!(telemetry.headers.is_some());
    let ours = ("TAILWATER_TELEMETRY__OTLP_ENDPOINT", "http://ours:4318");
    let both = [&standard[..], &[ours]].concat();
    let telemetry = folder.load(&both, &[]).expect("a valid configuration").telemetry;
    assert_eq!(endpoint(&telemetry).as_deref(), Some("http://ours:4318"));
}

#[test]
fn what_cannot_be_sent_to_or_with_is_refused_without_repeating_secrets() {
    let telemetry = |key: &str| format!("{NEWS}[telemetry]\n{key}\n");
    one_mistake(
        &telemetry("otlp_endpoint = \"collector:4317\""),
        "tailwater.toml:4:17: `telemetry.otlp_endpoint` is `collector:4317`, which begins with neither `http://` nor \
         `https://`: write `http://HOST:4318` or `https://HOST`",
    );
    one_mistake(
        &telemetry("otlp_headers = \"hunter2\""),
        "tailwater.toml:4:16: `telemetry.otlp_headers` must be `NAME=VALUE` of HTTP headers, with commas between several",
    );
    one_mistake(
        &telemetry("resource_attributes = [\"zone=a\", \"zone\"]"),
        "tailwater.toml:4:34: `telemetry.resource_attributes` holds `zone`: write `NAME=VALUE`",
    );
}
