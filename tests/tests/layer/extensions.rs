//! The extensions that jobs capture from their request.

use axum::{
    Router,
    extract::Request,
    middleware::{Next, from_fn},
    response::Response,
    routing::get,
};
use defer_axum::{Defer, DeferLayer, JobContext, JobResult, defer_fn};
use defer_tests::{By, Log, Tcp, runner};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Tenant(String);

/// Set by the same layer, but not captured.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Secret(String);

/// Takes the tenant from the `x-tenant` header, as an authenticating layer would.
async fn identify(mut request: Request, next: Next) -> Response {
    let name = request.headers()["x-tenant"].to_str().unwrap_or_default().to_owned();
    request.extensions_mut().insert(Secret(name.clone()));
    request.extensions_mut().insert(Tenant(name));
    next.run(request).await
}

fn note_tenant() {
    defer_fn(|cx: JobContext| async move {
        let tenant = cx.extension::<Tenant>().map_err(|error| error.to_string());
        let line = tenant.map_or_else(|error| error, |Tenant(name)| name);
        cx.state::<Log>()?.add(line);
        JobResult::Ok(())
    });
}

async fn get_as(client: &mut Tcp, tenant: &str) {
    client.send(format!("GET / HTTP/1.1\r\nhost: test\r\nx-tenant: {tenant}\r\n\r\n")).await;
    client.reply("GET").await;
}

#[tokio::test]
async fn each_job_has_the_extension_of_its_own_request() {
    async fn handler() {
        note_tenant();
        defer_fn(|cx: JobContext| async move {
            assert!(cx.extension::<Secret>().is_err(), "nothing but what was named");
            // A job that a job defers belongs to the same request.
            note_tenant();
            JobResult::Ok(())
        });
    }
    for by in By::BOTH {
        let log = Log::new();
        let runner = runner(&log);
        let layer = DeferLayer::new(runner.clone()).capture_extension::<Tenant>();
        let app = Router::new().route("/", get(handler)).layer(layer).layer(from_fn(identify));
        let server = by.serve_app(app, &runner).await;
        let mut client = Tcp::connect(server.addr).await;
        for tenant in ["acme", "umbrella"] {
            get_as(&mut client, tenant).await;
            runner.idle().await;
        }
        assert_eq!(log.lines(), ["acme", "acme", "umbrella", "umbrella"], "{by:?}");
        assert_eq!(runner.stats().failed, 0, "{by:?}");
    }
}

#[tokio::test]
async fn an_extension_that_is_set_inside_of_the_layer_is_inserted_and_a_missing_one_is_named() {
    async fn handler(defer: Defer, request: Request) {
        note_tenant();
        let tenant = request.extensions().get::<Tenant>().cloned();
        if request.headers()["x-tenant"] != "nobody" {
            defer.insert_extension(tenant.expect("it is set"));
        }
    }
    for by in By::BOTH {
        let log = Log::new();
        let runner = runner(&log);
        // This layer captures before the tenant is set.
        let layer = DeferLayer::new(runner.clone()).capture_extension::<Tenant>();
        let app = Router::new().route("/", get(handler)).layer(from_fn(identify)).layer(layer);
        let server = by.serve_app(app, &runner).await;
        let mut client = Tcp::connect(server.addr).await;
        for tenant in ["acme", "nobody"] {
            get_as(&mut client, tenant).await;
            runner.idle().await;
        }
        let missing = "the job has no extension `layer::extensions::Tenant` from its request: name the type with \
                       `DeferLayer::capture_extension`, inside of the layer that sets it, or set it with \
                       `Defer::insert_extension`; if the job comes from a queue, the type may have been renamed or moved";
        assert_eq!(log.lines(), ["acme", missing], "{by:?}");
    }
}
