//! Where credentials of a bucket are found.

use std::convert::Infallible;

use bytes::Bytes;
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tasktail::home::objects::{ObjectErrorKind, ObjectOptions, ObjectStore};
use tokio::net::TcpListener;

use crate::moto::{Moto, environment, options};
use crate::proxy::Proxy;

fn open(endpoint: &str, variables: &[(&str, &str)]) -> Result<ObjectStore, tasktail::home::objects::ObjectError> {
    let options = ObjectOptions { environment: environment(variables), ..options(endpoint) };
    ObjectStore::open("s3://logs", options)
}

/// Returns the access key ids of the requests that the store sent.
async fn key_ids(variables: &[(&str, &str)]) -> Vec<String> {
    let moto = Moto::start().await;
    let proxy = Proxy::start(&moto.endpoint).await;
    let store = open(&proxy.endpoint, variables).unwrap();
    store.check_writable().await.unwrap();
    proxy.key_ids()
}

fn all_are(ids: &[String], expected: &str) -> bool {
    !ids.is_empty() && ids.iter().all(|id| id == expected)
}

#[tokio::test(flavor = "multi_thread")]
async fn variables_outrank_the_profile() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("credentials");
    std::fs::write(&file, "[default]\naws_access_key_id=FILE\naws_secret_access_key=s\n").unwrap();
    let file = file.to_str().unwrap();
    let ids = key_ids(&[
        ("AWS_ACCESS_KEY_ID", "VARIABLE"),
        ("AWS_SECRET_ACCESS_KEY", "s"),
        ("AWS_SHARED_CREDENTIALS_FILE", file),
    ])
    .await;
    assert!(all_are(&ids, "VARIABLE"), "{ids:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_is_found_in_the_home_folder() {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join(".aws")).unwrap();
    std::fs::write(home.path().join(".aws/credentials"), "[ci]\naws_access_key_id=CI\naws_secret_access_key=s\n")
        .unwrap();
    let ids = key_ids(&[("HOME", home.path().to_str().unwrap()), ("AWS_PROFILE", "ci")]).await;
    assert!(all_are(&ids, "CI"), "{ids:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metadata_service_is_asked_last() {
    let metadata = credentials_service().await;
    let ids = key_ids(&[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &metadata)]).await;
    assert!(all_are(&ids, "ROLE"), "{ids:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_web_identity_is_exchanged_for_credentials() {
    let token = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(token.path(), "identity").unwrap();
    let service = credentials_service().await;
    let variables = [
        ("AWS_WEB_IDENTITY_TOKEN_FILE", token.path().to_str().unwrap()),
        ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/logs"),
        ("AWS_ENDPOINT_URL_STS", &service),
    ];
    let ids = key_ids(&variables).await;
    assert!(all_are(&ids, "WEB"), "{ids:?}");
}

/// The answer to a web identity.
const WEB_IDENTITY: &str = "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>\
    <AccessKeyId>WEB</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>\
    <Expiration>2999-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleWithWebIdentityResult>\
    </AssumeRoleWithWebIdentityResponse>";

/// Starts a metadata service with one role, which also accepts a web identity, and returns its address.
async fn credentials_service() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}/", listener.local_addr().unwrap());
    let answer = |request: Request<hyper::body::Incoming>| async move {
        let path = request.uri().path().trim_start_matches("/latest/").to_owned();
        let has_token = request.headers().get("x-aws-ec2-metadata-token").is_some_and(|token| token == "TOKEN");
        let body = match path.as_str() {
            "api/token" => "TOKEN".to_owned(),
            "meta-data/iam/security-credentials/" if has_token => "role".to_owned(),
            "meta-data/iam/security-credentials/role" if has_token => {
                r#"{"AccessKeyId":"ROLE","SecretAccessKey":"s","Token":"t","Expiration":"2999-01-01T00:00:00Z"}"#
                    .to_owned()
            }
            "/" if request.uri().query().is_some_and(|query| query.contains("WebIdentityToken=identity")) => {
                WEB_IDENTITY.to_owned()
            }
            other => panic!("{other}"),
        };
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(body))))
    };
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer)));
        }
    });
    address
}

#[tokio::test]
async fn missing_credentials_are_reported_with_a_remedy() {
    let endpoint = "http://127.0.0.1:1";
    for (variables, why) in [
        (vec![("AWS_EC2_METADATA_DISABLED", "true")], "none are configured"),
        (vec![("AWS_ACCESS_KEY_ID", "A")], "not AWS_SECRET_ACCESS_KEY"),
        (vec![("AWS_PROFILE", "none"), ("HOME", "/nowhere")], "`none`"),
    ] {
        let error = open(endpoint, &variables).unwrap_err();
        assert_eq!(error.kind(), ObjectErrorKind::Denied, "{error}");
        assert!(error.to_string().contains(why) && error.to_string().contains("set AWS_ACCESS_KEY_ID"), "{error}");
    }
    let mut options = options(endpoint);
    options.limits.attempts_max = 1;
    options.environment = environment(&[("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:2")]);
    let error = ObjectStore::open("s3://logs", options).unwrap().check_writable().await.unwrap_err();
    assert!(error.to_string().contains("no credentials from the machine's metadata service"), "{error}");
    assert!(error.to_string().contains("set AWS_ACCESS_KEY_ID"), "{error}");
}
