//! The worked examples of the specification.

use super::*;

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

struct Vector<'a> {
    method: &'a str,
    path: &'a str,
    query: &'a [(&'a str, &'a str)],
    headers: &'a [(&'a str, &'a str)],
    payload: Option<&'a str>,
    canonical_hash: &'a str,
    signature: &'a str,
}

fn check(scope: Scope<'_>, secret: &str, vectors: &[Vector<'_>]) {
    for v in vectors {
        let canonical = canonical_request(
            v.method,
            v.path,
            &pairs(v.query),
            &pairs(v.headers),
            v.payload,
        );
        assert_eq!(
            sha256_hex(canonical.as_bytes()),
            v.canonical_hash,
            "{canonical}"
        );
        assert_eq!(
            scope.signature(secret, &canonical),
            v.signature,
            "{canonical}"
        );
    }
}

const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

#[test]
fn published_s3_examples() {
    let scope = Scope {
        timestamp: "20130524T000000Z",
        region: "us-east-1",
        service: "s3",
    };
    let secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
    assert_eq!(
        hex::encode(scope.key(secret)),
        "dbb893acc010964918f1fd433add87c70e8b0db6be30c1fbeafefa5ec6ba8378"
    );
    let host = ("host", "examplebucket.s3.amazonaws.com");
    let date = ("x-amz-date", "20130524T000000Z");
    let body = sha256_hex(b"Welcome to Amazon S3.");
    check(
        scope,
        secret,
        &[
            Vector {
                method: "GET",
                path: "/test.txt",
                query: &[],
                headers: &[
                    host,
                    ("range", "bytes=0-9"),
                    ("x-amz-content-sha256", EMPTY),
                    date,
                ],
                payload: None,
                canonical_hash: "7344ae5b7ee6c3e7e6b0fe0640412a37625d1fbfff95c48bbb2dc43964946972",
                signature: "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
            },
            Vector {
                method: "PUT",
                path: "/test$file.text",
                query: &[],
                headers: &[
                    ("date", "Fri, 24 May 2013 00:00:00 GMT"),
                    host,
                    ("x-amz-content-sha256", &body),
                    date,
                    ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
                ],
                payload: Some(&body),
                canonical_hash: "9e0e90d9c76de8fa5b200d8c849cd5b8dc7a3be3951ddb7f6a76b4158342019d",
                signature: "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
            },
            Vector {
                method: "GET",
                path: "/",
                query: &[("lifecycle", "")],
                headers: &[host, ("x-amz-content-sha256", EMPTY), date],
                payload: None,
                canonical_hash: "9766c798316ff2757b517bc739a67f6213b4ab36dd5da2f94eaebf79c77395ca",
                signature: "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
            },
            Vector {
                method: "GET",
                path: "/",
                query: &[("prefix", "J"), ("max-keys", "2")],
                headers: &[host, ("x-amz-content-sha256", EMPTY), date],
                payload: None,
                canonical_hash: "df57d21db20da04d7fa30298dd4488ba3a2b47ca3a489c74750e0f1e7df1b9b7",
                signature: "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
            },
        ],
    );
}

#[test]
fn published_generic_suite() {
    let scope = Scope {
        timestamp: "20150830T123600Z",
        region: "us-east-1",
        service: "service",
    };
    let host = ("host", "example.amazonaws.com");
    let date = ("x-amz-date", "20150830T123600Z");
    let vanilla = |method, path, query, headers, canonical_hash, signature| Vector {
        method,
        path,
        query,
        headers,
        payload: None,
        canonical_hash,
        signature,
    };
    check(
        scope,
        "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
        &[
            vanilla(
                "GET",
                "/",
                &[],
                &[host, date],
                "bb579772317eb040ac9ed261061d46c1f17a8133879d6129b6e1c25292927e63",
                "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
            ),
            vanilla(
                "GET",
                "/",
                &[("Param2", "value2"), ("Param1", "value1")],
                &[host, date],
                "816cd5b414d056048ba4f7c5386d6e0533120fb1fcfa93762cf0fc39e2cf19e0",
                "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
            ),
            vanilla(
                "GET",
                "/ሴ",
                &[],
                &[host, date],
                "2a0a97d02205e45ce2e994789806b19270cfbbb0921b278ccf58f5249ac42102",
                "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85",
            ),
            vanilla(
                "POST",
                "/",
                &[],
                &[host, date],
                "553f88c9e4d10fc9e109e2aeb65f030801b70c2f6468faca261d401ae622fc87",
                "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
            ),
            vanilla(
                "GET",
                "/",
                &[],
                &[
                    host,
                    ("my-header1", " value1"),
                    ("my-header2", " \"a   b   c\""),
                    date,
                ],
                "a726db9b0df21c14f559d0a978e563112acb1b9e05476f0a6a1c7d68f28605c7",
                "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
            ),
        ],
    );
}

#[test]
fn own_vectors() {
    let scope = Scope {
        timestamp: "20260115T081530Z",
        region: "us-west-1",
        service: "s3",
    };
    let host = ("host", "s3.example.test:7480");
    let date = ("x-amz-date", "20260115T081530Z");
    let chunk = sha256_hex(b"chunk-bytes");
    let digest = "bb9f8df61474d25e71fa00722318cd387396ca1736605e1248821cc0de3d3af8";
    let chunk_path = format!("/pbs-bucket/store1/.chunks/bb9f/{digest}");
    let batch = "3697561fa0ddf92991c1567dcb3d403eb93ee59917b46134393b5fba99f3664f";
    check(
        scope,
        "testsecretkey",
        &[
            Vector {
                method: "GET",
                path: "/pbs-bucket/",
                query: &[
                    ("list-type", "2"),
                    ("prefix", "store1/.chunks/00"),
                    (
                        "continuation-token",
                        "1ueGcxLPRx1Tr/XYExHnhbYLgveDs2J/wm36Hy4vbOwM=",
                    ),
                ],
                headers: &[host, ("x-amz-content-sha256", EMPTY), date],
                payload: None,
                canonical_hash: "6e65584111bb42789105633580498e3719b6a75e2e3a794b405ebc579af293f2",
                signature: "eec0bc4f2c21142a1021439f3d2fca068ccc5e866d158dd675aebba98278b846",
            },
            Vector {
                method: "PUT",
                path: &chunk_path,
                query: &[],
                headers: &[
                    ("content-length", "11"),
                    ("content-md5", "dPO08vCxGYmqDLIaw5nt3Q=="),
                    ("content-type", "application/octet-stream"),
                    host,
                    ("if-none-match", "*"),
                    ("x-amz-content-sha256", &chunk),
                    date,
                ],
                payload: Some(&chunk),
                canonical_hash: "f111701dde0d5c65d71ce40c322e5139cf232899b5154dc229562d77f5ad24a4",
                signature: "7d555c16c3bc5922e710fc58fc73949c1cbb3f353aa49190aca43d2ee540620b",
            },
            Vector {
                method: "POST",
                path: "/pbs-bucket/",
                query: &[("delete", "")],
                headers: &[
                    ("content-length", "254"),
                    ("content-md5", "FMYH6NFT215PyV8DIlBPlg=="),
                    ("content-type", "application/xml"),
                    host,
                    ("x-amz-content-sha256", batch),
                    date,
                ],
                payload: Some(batch),
                canonical_hash: "40bc09cca658a09041df151c52561bdd0c157bc98398fa40ed48eb6de03c2afa",
                signature: "457492a84c1fb40252fd89043d53dc683cea2eabfaca4bc79de045ae355641dd",
            },
        ],
    );
    let scope = Scope {
        region: "eu-central-1",
        ..scope
    };
    check(
        scope,
        "testsecretkey",
        &[Vector {
            method: "HEAD",
            path: "/store1/.cnt/ns/a b+c/host/ü/2025-07-14T14:20:02Z/index.json.blob",
            query: &[],
            headers: &[
                ("host", "pbs-bucket.s3.eu-central-1.example.test"),
                ("x-amz-content-sha256", EMPTY),
                date,
            ],
            payload: None,
            canonical_hash: "29f22aec2b19a12698e35283b975a0d6ceb42c8a1ad4743997892017256d8265",
            signature: "97df3f7f913bd701a994c73dbdf78b2d5fd85ccfe0c924c315ea41be79f05780",
        }],
    );
}
