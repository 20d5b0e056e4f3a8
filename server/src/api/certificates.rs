//! `/nodes/{node}/certificates`: the certificate in use.

use api_types::access::Privilege;
use hyper::Method;

use crate::daemon::certificate::CertificateFiles;
use crate::daemon::certificate_info::CertificateInfo;
use crate::rest::answer::Answer;
use crate::rest::call::Call;
use crate::rest::endpoint::Param;
use crate::rest::error::RestError;
use crate::rest::schema::{Schema, Text};
use crate::rest::table::{Access, BodyUse, Endpoint};

const NODE: Param = Param::required(
    "node",
    "This machine, by whatever name.",
    Schema::Text(Text {
        form: "host name",
        check: |text| {
            let is_name = !text.is_empty()
                && text
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'));
            if is_name {
                Ok(())
            } else {
                Err("not a host name".into())
            }
        },
        max_len: 255,
    }),
);

/// What there is here.
pub const ENDPOINTS: &[Endpoint] = &[Endpoint {
    method: Method::GET,
    path: "/nodes/{node}/certificates/info",
    about: "The certificate in use.",
    params: &[NODE],
    access: Access::Privileges {
        path: "/system/certificates",
        any: &[Privilege::SysModify],
    },
    body: BodyUse::Parameters,
    handler: |call| Box::pin(async move { info(&call) }),
}];

fn info(call: &Call) -> Result<Answer, RestError> {
    let certificate = CertificateFiles::new(&call.server.paths.config).read()?;
    let leaf = certificate.chain.first().into_iter();
    let infos: Result<Vec<_>, _> = leaf
        .map(|leaf| CertificateInfo::new("proxy.pem", leaf))
        .collect();
    Answer::of(infos?)
}
