//! The table of endpoints as an OpenAPI document, for programs and people that look for what there
//! is.

use std::sync::LazyLock;

use bytes::Bytes;
use hyper::Method;
use serde_json::{Map, Value, json};

use super::endpoint::Param;
use super::table::{Access, BodyUse, Endpoint, TABLES, parameter};
use crate::api::version::{RELEASE, VERSION};

/// The document of all endpoints, which never changes.
#[must_use]
pub fn text() -> Bytes {
    static TEXT: LazyLock<Bytes> = LazyLock::new(|| document(TABLES).to_string().into());
    TEXT.clone()
}

/// The document of these endpoints.
#[must_use]
pub fn document(tables: &[&[Endpoint]]) -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for endpoint in tables.iter().copied().flatten() {
        let method = endpoint.method.as_str().to_ascii_lowercase();
        let entry = paths.entry(endpoint.path).or_insert_with(|| json!({}));
        if let Value::Object(entry) = entry {
            entry.insert(method, operation(endpoint));
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": { "title": "Coffer", "version": format!("{VERSION}.{RELEASE}") },
        "servers": [{ "url": "/api2/json" }],
        "components": { "securitySchemes": {
            "token": {
                "type": "apiKey", "in": "header", "name": "Authorization",
                "description": "PBSAPIToken=USER@REALM!TOKEN:SECRET"
            },
            "ticket": {
                "type": "apiKey", "in": "cookie", "name": "PBSAuthCookie",
                "description":
                    "With the header CSRFPreventionToken for everything but GET."
            },
        }},
        "paths": paths,
    })
}

fn operation(endpoint: &Endpoint) -> Value {
    // Raw bodies and requests without one have their parameters in the query.
    let in_body = endpoint.body == BodyUse::Parameters
        && (endpoint.method == Method::POST || endpoint.method == Method::PUT);
    let is_in_path = |param: &Param| {
        endpoint
            .path
            .split('/')
            .any(|word| parameter(word) == Some(param.name))
    };
    let (listed, body): (Vec<&Param>, Vec<&Param>) = endpoint
        .params
        .iter()
        .partition(|param| is_in_path(param) || !in_body);
    let parameters: Vec<Value> = listed
        .into_iter()
        .map(|param| {
            json!({
                "name": param.name,
                "in": if is_in_path(param) { "path" } else { "query" },
                "description": param.about,
                "required": !param.optional,
                "schema": schema(param),
            })
        })
        .collect();
    let mut operation = json!({
        "summary": endpoint.about,
        "parameters": parameters,
        "responses": {
            "200": { "description": "The result, below `data`." },
            "default": { "description": "What is wrong, as plain text." },
        },
        "security": match endpoint.access {
            Access::World => json!([]),
            _ => json!([{ "token": [] }, { "ticket": [] }]),
        },
    });
    if let (Access::Privileges { path, any }, Value::Object(operation)) =
        (endpoint.access, &mut operation)
    {
        let any: Vec<&str> = any.iter().map(|privilege| privilege.as_str()).collect();
        let text = format!("{} on {path}", any.join(" or "));
        operation.insert("x-privileges".into(), text.into());
    }
    if let (false, Value::Object(operation)) = (body.is_empty(), &mut operation) {
        operation.insert("requestBody".into(), request_body(&body));
    }
    operation
}

fn request_body(params: &[&Param]) -> Value {
    let properties: Map<String, Value> = params
        .iter()
        .map(|param| {
            let mut schema = schema(param);
            if let Value::Object(schema) = &mut schema {
                schema.insert("description".into(), param.about.into());
            }
            (param.name.to_owned(), schema)
        })
        .collect();
    let required: Vec<&str> = params
        .iter()
        .filter(|param| !param.optional)
        .map(|param| param.name)
        .collect();
    let schema = json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    });
    json!({ "content": {
        "application/json": { "schema": schema },
        "application/x-www-form-urlencoded": { "schema": schema },
    }})
}

fn schema(param: &Param) -> Value {
    let mut schema = param.schema.describe();
    if let (Some(default), Value::Object(schema)) = (param.default, &mut schema) {
        schema.insert("default".into(), default.into());
    }
    schema
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rest::table::TABLES;

    #[test]
    fn every_endpoint_is_described() {
        let document = document(TABLES);
        let paths = document["paths"].as_object().unwrap();
        let described: usize = paths
            .values()
            .map(|path| path.as_object().unwrap().len())
            .sum();
        let endpoints = TABLES.iter().copied().flatten().count();
        assert_eq!(described, endpoints);
        let put = &document["paths"]["/access/acl"]["put"];
        let schema = &put["requestBody"]["content"]["application/json"]["schema"];
        assert_eq!(schema["required"], json!(["path", "role"]));
        assert_eq!(schema["properties"]["propagate"]["default"], true);
        let get = &document["paths"]["/access/users/{userid}"]["get"];
        assert_eq!(get["parameters"][0]["in"], "path");
        let post = &document["paths"]["/access/users"]["post"];
        assert_eq!(post["x-privileges"], "Permissions.Modify on /access/users");
    }
}
