//! What must fail, and how.

use anyhow::{bail, ensure};
use bytes::Bytes;
use s3_client::{ListOptions, PutMode, S3Error, S3ErrorKind};
use tokio_util::sync::CancellationToken;

use crate::context::{Context, ensure_eq};

fn expect_err<T: std::fmt::Debug>(
    what: &str,
    result: Result<T, S3Error>,
) -> anyhow::Result<S3Error> {
    match result {
        Ok(value) => bail!("{what} gives {value:?}"),
        Err(error) => Ok(error),
    }
}

pub(super) async fn a_wrong_bucket_is_an_error_everywhere(t: &Context) -> anyhow::Result<()> {
    let client = t.changed(|options| {
        options.bucket = Some("no-such-bucket-here".parse()?);
        Ok(())
    })?;
    let key = t.key("object")?;
    let body = || Bytes::from_static(b"x");
    let errors = [
        (
            "head bucket",
            expect_err("head bucket", client.head_bucket().await)?,
        ),
        ("head", expect_err("head", client.head_object(&key).await)?),
        ("get", expect_err("get", client.get_object(&key).await)?),
        (
            "put",
            expect_err(
                "put",
                client.put_object(&key, body(), PutMode::Replace).await,
            )?,
        ),
        (
            "delete",
            expect_err("delete", client.delete_object(&key).await)?,
        ),
    ];
    for (what, error) in &errors {
        ensure!(
            !error.is_absent_proof(),
            "{what} of a wrong bucket proves absence: {error}"
        );
        ensure!(
            matches!(
                error.kind(),
                S3ErrorKind::NoSuchBucket | S3ErrorKind::Denied { .. }
            ),
            "{what} says {error:?}"
        );
    }
    let page = client
        .list(&t.dir, ListOptions::default())
        .next_page()
        .await;
    ensure!(matches!(page, Some(Err(_))), "a listing gives {page:?}");
    Ok(())
}

pub(super) async fn wrong_credentials_are_denied(t: &Context) -> anyhow::Result<()> {
    let key = t.put("object", "x").await?;
    let secret = t.changed(|options| {
        options.endpoint.secret_key = "wrong-secret".parse()?;
        Ok(())
    })?;
    let access = t.changed(|options| {
        options.endpoint.access_key = "WRONGACCESSKEY".parse()?;
        Ok(())
    })?;
    for client in [secret, access] {
        let get = expect_err("get", client.get_object(&key).await)?;
        ensure!(
            matches!(get.kind(), S3ErrorKind::Denied { .. }),
            "get says {get:?}"
        );
        let head = expect_err("head", client.head_object(&key).await)?;
        ensure!(
            matches!(head.kind(), S3ErrorKind::Denied { .. }),
            "head says {head:?}"
        );
        ensure!(
            !get.is_transient() && !get.may_have_been_applied(),
            "{get:?}"
        );
        expect_err("delete", client.delete_object(&key).await)?;
    }
    ensure!(
        t.read(&key).await?.is_some(),
        "the object was deleted all the same"
    );
    Ok(())
}

pub(super) async fn a_wrong_region_is_refused(t: &Context) -> anyhow::Result<()> {
    let client = t.changed(|options| {
        options.endpoint.region = Some("nowhere-7".parse()?);
        Ok(())
    })?;
    let error = expect_err("get", client.get_object(&t.key("object")?).await)?;
    ensure!(
        !error.is_transient() && !error.is_absent_proof(),
        "{error:?}"
    );
    Ok(())
}

pub(super) async fn a_wrong_fingerprint_is_refused(t: &Context) -> anyhow::Result<()> {
    let Some(right) = t.target.options.endpoint.fingerprint else {
        bail!("the target has no fingerprint to spoil");
    };
    let wrong = "00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:ff:00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:ff";
    for fingerprint in [Some(wrong), None] {
        let client = t.changed(|options| {
            options.endpoint.fingerprint = fingerprint.map(str::parse).transpose()?;
            Ok(())
        })?;
        let error = expect_err("head bucket", client.head_bucket().await)?;
        ensure!(
            matches!(error.kind(), S3ErrorKind::Connect { .. }),
            "{error:?}"
        );
        let text = error.to_string();
        ensure!(
            text.contains(&right.to_string()),
            "the text lacks the seen fingerprint: {text}"
        );
        ensure!(
            fingerprint.is_none_or(|wrong| text.contains(wrong)),
            "not what was expected: {text}"
        );
        ensure_eq!(client.counters().total().bytes_out, 0, "bytes sent");
    }
    Ok(())
}

pub(super) async fn an_old_signature_is_refused(t: &Context) -> anyhow::Result<()> {
    let key = t.put("object", "x").await?;
    let old = t.target.env.unix_secs() - 16 * 60;
    let error = expect_err("delete", t.client.signed_at(old).delete_object(&key).await)?;
    ensure!(
        matches!(error.kind(), S3ErrorKind::Denied { .. }),
        "{error:?}"
    );
    ensure!(
        t.read(&key).await?.is_some(),
        "the object was deleted all the same"
    );
    let fresh = t.target.env.unix_secs() - 60;
    t.client.signed_at(fresh).delete_object(&key).await?;
    Ok(())
}

pub(super) async fn a_cancelled_client_sends_nothing(t: &Context) -> anyhow::Result<()> {
    let key = t.put("object", "x").await?;
    let cancel = CancellationToken::new();
    cancel.cancel();
    let client = t.client.with_cancel(cancel);
    let error = expect_err("delete", client.delete_object(&key).await)?;
    ensure!(
        error.is_aborted() && !error.may_have_been_applied(),
        "{error:?}"
    );
    ensure!(
        t.read(&key).await?.is_some(),
        "the object was deleted all the same"
    );
    Ok(())
}
