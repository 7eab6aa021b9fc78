//! Failures of requests to an S3 service, and what can be done about them.

use std::error::Error;

use hyper::StatusCode;

use super::super::ObjectErrorKind;
use super::super::error::{Failure, FailureKind};

/// A response that is an error.
#[derive(Debug, thiserror::Error)]
#[error("{status}{}{}", separated(code), separated(message))]
pub(super) struct S3Failure {
    pub(super) status: StatusCode,
    /// Code of the service, such as `NoSuchKey`; empty in a response without a body.
    pub(super) code: String,
    /// The service's own words.
    pub(super) message: String,
    /// The store sent it, not a service of credentials.
    pub(super) is_store: bool,
}

/// An exchange without a response.
#[derive(Debug, thiserror::Error)]
#[error("{host}: {why}")]
pub(super) struct ConnectionFailure {
    pub(super) host: String,
    pub(super) is_store: bool,
    /// Another attempt fails alike.
    pub(super) is_final: bool,
    pub(super) why: String,
}

/// What a store is, for remedies.
#[derive(Clone, Debug)]
pub(super) struct RemedyContext {
    pub(super) bucket: String,
    pub(super) endpoint: String,
    pub(super) region: String,
    /// Where the credentials are from.
    pub(super) credentials: String,
}

fn separated(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(": {text}") }
}

impl S3Failure {
    /// Reads the elements `Code` and `Message` of an error document.
    pub(super) fn parse(status: StatusCode, body: &[u8]) -> Self {
        let text = String::from_utf8_lossy(body);
        let element = |name: &str| {
            let (_, rest) = text.split_once(&format!("<{name}>"))?;
            let (content, _) = rest.split_once(&format!("</{name}>"))?;
            Some(content.chars().filter(|c| !c.is_control()).take(300).collect::<String>())
        };
        let (code, message) = (element("Code").unwrap_or_default(), element("Message").unwrap_or_default());
        Self { status, code, message, is_store: true }
    }

    fn classify(&self, context: &RemedyContext) -> Failure {
        let RemedyContext { bucket, endpoint, region, credentials } = context;
        let why = self.to_string();
        let settings = |remedy: String| Failure::with(ObjectErrorKind::Settings, &why, remedy);
        let denied = |remedy: String| Failure::with(ObjectErrorKind::Denied, &why, remedy);
        if !self.is_store && !is_transient(self.status) {
            return denied(format!("check the role of the credentials ({credentials}) and what it may do"));
        }
        match (self.status.as_u16(), self.code.as_str()) {
            (_, "NoSuchBucket") => settings(format!("create the bucket {bucket}, or correct the setting `archive`")),
            (301 | 307, _)
            | (_, "PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException") => {
                settings(format!(
                    "set archive_region (now {region}) to the region of the bucket, and archive_endpoint if it is not on AWS"
                ))
            }
            (_, "RequestTimeTooSkewed") => settings("set this machine's clock".to_owned()),
            (
                _,
                "InvalidAccessKeyId"
                | "SignatureDoesNotMatch"
                | "InvalidToken"
                | "ExpiredToken"
                | "TokenRefreshRequired",
            )
            | (401, _) => denied(format!("renew the credentials ({credentials})")),
            (403, _) => denied(format!(
                "allow s3:GetObject, s3:PutObject, s3:DeleteObject, s3:AbortMultipartUpload and s3:ListBucket on {bucket} \
                 to the credentials ({credentials})"
            )),
            (404, _) => Failure::missing(),
            (412, _) => Failure { kind: FailureKind::Exists, ..settings("choose another name".to_owned()) },
            (416, _) => {
                Failure::with(ObjectErrorKind::Unusable, why, "the object is shorter than promised; run verify")
            }
            (501, _) => Failure {
                kind: FailureKind::Unsupported,
                ..settings(format!("use a service at {endpoint} that supports this request"))
            },
            // A conflict with a request that is being processed.
            (409, _) => Failure::transient(why),
            (_, "SlowDown" | "InternalError" | "RequestTimeout" | "ServiceUnavailable") => Failure::transient(why),
            _ if is_transient(self.status) => Failure::transient(why),
            _ => settings(format!("check that an S3 service answers at {endpoint}")),
        }
    }
}

fn is_transient(status: StatusCode) -> bool {
    status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429)
}

/// Returns the failure that an error of a request describes.
pub(super) fn classify(error: &object_store::Error, context: &RemedyContext) -> Failure {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    let mut deepest = error.to_string();
    while let Some(current) = cause {
        if let Some(failure) = current.downcast_ref::<S3Failure>() {
            return failure.classify(context);
        }
        if let Some(failure) = current.downcast_ref::<ConnectionFailure>() {
            return failure.classify(context);
        }
        if let Some(failure) = current.downcast_ref::<super::credentials::NoCredentials>() {
            return Failure::with(ObjectErrorKind::Denied, failure.to_string(), super::credentials::REMEDY);
        }
        deepest = current.to_string();
        cause = current.source();
    }
    // A response that was cut, or is not one of S3.
    Failure::transient(deepest)
}

impl ConnectionFailure {
    fn classify(&self, context: &RemedyContext) -> Failure {
        let why = self.to_string();
        if !self.is_store {
            let why = format!("no credentials from {}: {why}", context.credentials);
            return Failure { kind: FailureKind::Transient, why, remedy: super::credentials::REMEDY.to_owned() };
        }
        if self.is_final {
            let remedy = "correct archive_endpoint, or name the file of the certificate with archive_ca_file";
            return Failure::with(ObjectErrorKind::Settings, why, remedy);
        }
        Failure::transient(why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context() -> RemedyContext {
        RemedyContext {
            bucket: "logs".into(),
            endpoint: "https://s3.example".into(),
            region: "us-east-1".into(),
            credentials: "AWS_ACCESS_KEY_ID".into(),
        }
    }

    fn classified(status: u16, body: &str) -> Failure {
        S3Failure::parse(StatusCode::from_u16(status).unwrap(), body.as_bytes()).classify(&context())
    }

    #[test]
    fn a_failure_has_a_kind_and_a_remedy() {
        use FailureKind::{Exists, Final, Transient, Unsupported};
        use ObjectErrorKind::{Denied, NotFound, Settings, Unusable};
        for (status, code, kind, remedy) in [
            (404, "NoSuchBucket", Final(Settings), "create the bucket logs"),
            (404, "NoSuchKey", Final(NotFound), "deleted"),
            (404, "", Final(NotFound), "deleted"),
            (301, "PermanentRedirect", Final(Settings), "archive_region"),
            (400, "AuthorizationHeaderMalformed", Final(Settings), "archive_region"),
            (403, "RequestTimeTooSkewed", Final(Settings), "clock"),
            (403, "SignatureDoesNotMatch", Final(Denied), "AWS_ACCESS_KEY_ID"),
            (400, "ExpiredToken", Final(Denied), "renew"),
            (403, "AccessDenied", Final(Denied), "s3:PutObject"),
            (412, "PreconditionFailed", Exists, ""),
            (416, "InvalidRange", Final(Unusable), "verify"),
            (501, "NotImplemented", Unsupported, ""),
            (409, "ConditionalRequestConflict", Transient, ""),
            (503, "SlowDown", Transient, "overloaded"),
            (500, "", Transient, ""),
            (429, "", Transient, ""),
            (400, "InvalidRequest", Final(Settings), "https://s3.example"),
        ] {
            let failure = classified(status, &format!("<Error><Code>{code}</Code><Message>m</Message></Error>"));
            assert_eq!(failure.kind, kind, "{status} {code}");
            assert!(failure.remedy.contains(remedy), "{status} {code}: {}", failure.remedy);
        }
    }

    #[test]
    fn the_words_of_the_service_are_kept() {
        let failure = classified(403, "<?xml?><Error><Code>AccessDenied</Code><Message>not\nyou</Message></Error>");
        assert_eq!(failure.why, "403 Forbidden: AccessDenied: notyou");
        assert_eq!(classified(500, "").why, "500 Internal Server Error");
    }
}
